# Ends all processes that work in the folder $1 and removes it, as soon as the standard input ends: that is when the
# process that holds its other end is gone, however it went.
trap '' HUP INT TERM
cd /
root=$1
while read -r _; do :; done

ours() { # process ids; the kernel shows where others of our user work, and nobody else's
  for process in /proc/[0-9]*; do
    if [ "$process/cwd" -ef "$root" ] || [ "$process/cwd" -ef "$root/data" ]; then echo "${process#/proc/}"; fi
  done
}

# A server that is told to quit gives its shared memory back. One that is stopped hears nothing until it goes on.
pids=$(ours)
if [ -n "$pids" ]; then
  kill -CONT $pids
  kill -QUIT $pids
fi
tries=0
while pids=$(ours); [ -n "$pids" ] && [ "$tries" -lt 200 ]; do
  tries=$((tries + 1))
  if [ "$tries" -gt 20 ]; then kill -KILL $pids; fi
  sleep 0.05
done

# One that was killed did not; where it lies is in the file that marks a server as running.
shared=$(sed -n '7s/.* //p' "$root/data/postmaster.pid")
if [ -n "$shared" ]; then ipcrm -m "$shared"; fi
rm -rf -- "$root"
