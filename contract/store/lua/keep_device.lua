-- KEEP_DEVICE: renew the lease of a GPU, or take it anew when it was lost and is free.
-- KEYS   none
-- ARGV   1 the GPU's UUID, 2 owner, 3 lease in ms
-- RETURN 1 the owner has it, 0 another one has
redis.call('SET', key.device(ARGV[1]), ARGV[2], 'NX', 'PX', ARGV[3])
if redis.call('GET', key.device(ARGV[1])) ~= ARGV[2] then return 0 end
return redis.call('PEXPIRE', key.device(ARGV[1]), ARGV[3])
