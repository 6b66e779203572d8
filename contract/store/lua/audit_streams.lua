-- AUDIT_STREAMS: whether each job's stream tells of one end per life: a `done` is the last entry,
-- or the next one says that the job was redriven. A job that was never claimed, or whose answer was
-- cached, needs none.
-- KEYS   none
-- ARGV   1 most entries to read, more or less, 2 where to begin in the stream of the first id
--        ('-', or behind an entry), 3 1 if that job had ended there, 4.. ids
-- RETURN {ids done, where to begin in the next one's stream, 1 if it had ended there,
--         rows of {kind of finding, id}}
local left, start, ended, found = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1', {}
local CHUNK = 200

for i = 4, #ARGV do
  local id = ARGV[i]
  local function say(kind) found[#found + 1] = {kind, id} end
  repeat
    if left <= 0 then return {i - 4, start, ended and 1 or 0, found} end
    local entries = redis.call('XRANGE', key.events(id), start, '+', 'COUNT', CHUNK)
    for _, entry in ipairs(entries) do
      local kind, data = entry[2][2], entry[2][6]
      local redriven = kind == 'status' and data:find('"cause":"redriven"', 1, true)
      if ended and not redriven then say(kind == 'done' and 'ended_twice' or 'event_after_end') end
      if redriven then ended = false elseif kind == 'done' then ended = true end
    end
    left = left - #entries - 1
    local empty = start == '-' and #entries == 0
    if #entries > 0 then start = '(' .. entries[#entries][1] end
    local last = #entries < CHUNK
    local job = last and get(id, 'state', 'attempt', 'cached') or {}
    local state = job[1]
    if state and empty then
      if not (job[3] == '1' or state == 'queued' and job[2] == '0') then say('stream_missing') end
    elseif state and ended ~= (state ~= 'queued' and state ~= 'in_progress') then
      say('end_missing')
    end
  until last
  start, ended = '-', false
end
return {#ARGV - 3, '-', 0, found}
