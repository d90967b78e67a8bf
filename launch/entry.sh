#!/bin/sh
# Starts sagan in a container or a batch job, and becomes it: a shell that stays in between
# would keep SIGTERM to itself, and a preemption would save nothing.
#
#   entry.sh train CONFIG ... --workdir DIR     any verb of sagan
#   entry.sh evaluator DIR                      waits for a training to appear, then follows it
set -eu

python=${SAGAN_PYTHON:-python3}

# SkyPilot tells ranks in its own words.
if [ -n "${SKYPILOT_NODE_IPS:-}" ] && [ "${SKYPILOT_NUM_NODES:-1}" -gt 1 ] && [ "${1:-}" = train ]; then
  first=$(printf '%s\n' "$SKYPILOT_NODE_IPS" | head -n 1)
  export SAGAN_COORDINATOR="$first:8482"
  export SAGAN_NUM_PROCESSES="$SKYPILOT_NUM_NODES"
  export SAGAN_PROCESS_ID="$SKYPILOT_NODE_RANK"
fi

if [ "${1:-}" = evaluator ]; then
  workdir=$2
  waited=0
  until [ -e "$workdir/config.json" ]; do
    if [ "$waited" -ge "${SAGAN_EVALUATOR_WAIT_SECONDS:-86400}" ]; then
      echo "entry.sh: no training appeared in $workdir within $waited s" >&2
      exit 1
    fi
    # In the background, so that a signal ends the wait at once.
    sleep 5 &
    wait $!
    waited=$((waited + 5))
  done
  set -- eval "$workdir" --watch
fi

exec "$python" -m sagan "$@"
