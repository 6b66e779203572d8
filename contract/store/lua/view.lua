-- VIEW: what readers see of jobs.
-- PARTS  view
-- KEYS   none
-- ARGV   1 lease in ms, 2 1 to read outputs too, 3.. job ids
-- RETURN a row for each id (parts/view.lua)
local lease_ms, with_output, now, rows = tonumber(ARGV[1]), ARGV[2] == '1', now_ms(), {}
for i = 3, #ARGV do rows[#rows + 1] = row(ARGV[i], now, lease_ms, with_output) end
return rows
