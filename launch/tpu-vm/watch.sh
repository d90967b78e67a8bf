#!/bin/bash
# Sees one run through on a queued resource: creates it, waits, creates it again when it was
# preempted, and exits with the trainer's status. Ending this script ends only the watching;
# the same command takes it up again.
set -uo pipefail

name={{RUN_ID}}
max_restarts={{MAX_RESTARTS}}
where=({{WHERE}})
here=$(cd "$(dirname "$0")" && pwd)

queued() { gcloud compute tpus queued-resources "$@" "${where[@]}"; }

create() {
  queued create "$name" --node-id="$name" --accelerator-type={{TYPE}} \
    --runtime-version={{RUNTIME}} --metadata-from-file=startup-script="$here/startup.sh" {{SPOT}}
}

# Asks the first worker how its service ended; nothing while it runs or cannot be reached.
ended() {
  local said
  said=$(gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker=0 --quiet \
    --command='systemctl show sagan -p ActiveState -p ExecMainStatus -p ExecMainExitTimestamp' \
    2>/dev/null) || return 0
  case "$said" in
    *ActiveState=inactive* | *ActiveState=failed*)
      # Without a time of exit it has not started yet.
      printf '%s\n' "$said" | grep -q '^ExecMainExitTimestamp=.' || return 0
      printf '%s\n' "$said" | sed -n 's/^ExecMainStatus=//p'
      ;;
  esac
}

restarts=0
last=
while true; do
  state=$(queued describe "$name" --format='value(state.state)' 2>/dev/null) || state=ABSENT
  if [ "$state" != "$last" ]; then
    echo "watch: $name is $state"
    last=$state
  fi
  case "$state" in
    ABSENT)
      create || exit $?
      ;;
    SUSPENDING | SUSPENDED)
      if [ "$restarts" -ge "$max_restarts" ]; then
        echo "watch: preempted after $restarts restarts, the bound: giving up" >&2
        exit 42
      fi
      restarts=$((restarts + 1))
      echo "watch: preempted; creating it again ($restarts of $max_restarts)"
      queued delete "$name" --force --quiet || exit $?
      continue
      ;;
    FAILED)
      queued describe "$name" >&2
      exit 1
      ;;
    ACTIVE)
      code=$(ended)
      if [ -n "$code" ]; then
        echo "watch: the training ended with $code; deleting the machines"
        queued delete "$name" --force --quiet
        exit "$code"
      fi
      ;;
  esac
  sleep {{POLL}}
done
