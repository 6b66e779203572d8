-- RELEASE: a draining worker gives a job back, uncharged.
-- KEYS   none
-- ARGV   1 id, 2 attempt
-- RETURN 1 released, 0 fenced
if not holds(ARGV[1], ARGV[2]) then return 0 end
requeue(ARGV[1], 'released')
enqueue(ARGV[1])
return 1
