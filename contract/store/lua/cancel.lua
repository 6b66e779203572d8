-- CANCEL: end a job that has not ended. A running one is fenced at once and its worker told.
-- KEYS   none
-- ARGV   1 id, 2 result TTL in ms
-- RETURN the queue whose heir now waits for a claim, '' if none, or nil for an unknown job
local id = ARGV[1]
local job = get(id, 'state', 'worker', 'queue')
if not job[1] then return nil end
if job[1] ~= 'queued' and job[1] ~= 'in_progress' then return '' end
close(id, 'cancelled', now_ms(), tonumber(ARGV[2]), {})
if job[1] == 'in_progress' and job[2] then redis.call('PUBLISH', key.control(job[2]), id) end
return hand_over(id) and job[3] or ''
