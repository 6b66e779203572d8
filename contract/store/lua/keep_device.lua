-- KEEP_DEVICE: renew the lease of a GPU, or take it anew when it was lost and is free.
-- KEYS   none
-- ARGV   1 the GPU's UUID, 2 owner, 3 lease in ms
-- RETURN 1 the owner has it, 0 another one has
local owner = redis.call('GET', key.device(ARGV[1]))
if owner == ARGV[2] then return redis.call('PEXPIRE', key.device(ARGV[1]), ARGV[3]) end
if owner then return 0 end
redis.call('SET', key.device(ARGV[1]), ARGV[2], 'PX', ARGV[3])
return 1
