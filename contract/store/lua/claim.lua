-- CLAIM: hand this worker the best job that it may run now (parts/claiming.lua).
-- PARTS  claiming
-- KEYS   none
-- ARGV   1 worker, 2 nonce, 3 lease in ms, 4 most suspects in one batch, 5.. queues with room
-- RETURN {'claimed', id, attempt, queue, task, priority, its input as JSON} | {'empty'}
--        | {'blocked'}: jobs wait, but not for a batch such as this worker's
return claim(ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), {unpack(ARGV, 5)})
