-- RELEASE: a draining worker gives a job back, uncharged.
-- KEYS   none
-- ARGV   1 worker, 2 id, 3 attempt
-- RETURN 1 released, 0 fenced
local id = ARGV[2]
if not holds(id, ARGV[3], ARGV[1]) then return 0 end
requeue(id, 'released')
enqueue(id)
return 1
