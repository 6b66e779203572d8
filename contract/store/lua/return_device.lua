-- RETURN_DEVICE: let others have a GPU.
-- KEYS   none
-- ARGV   1 the GPU's UUID, 2 owner
-- RETURN 1 given back, 0 it was not the owner's
if redis.call('GET', key.device(ARGV[1])) ~= ARGV[2] then return 0 end
return redis.call('DEL', key.device(ARGV[1]))
