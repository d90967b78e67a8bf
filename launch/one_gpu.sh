#!/usr/bin/env bash
# What one GPU makes of sagan, in one folder: the same numbers as on the CPU, how fast, how good.
#
#   launch/one_gpu.sh [--dry-run] OUT [section.field=value ...]
#
# The same command again goes on where the last one stopped; the overrides are for every stage.
# OUT/README.md tells all. Exit status: 0 all is there; 42 LIMIT came first; 1 something failed or
# differs: OUT/README.md says what, and removing its *.failed file tries it again; 2 nothing was done:
# a word that is no override, or no GPU.
#
# Nothing is downloaded. The environment says what there is; what is not is left out and named:
#   DATA          data_dir of tensorflow-datasets with cifar10 as array_record; train and gate need
#                 it, or data.dir= or data.name= among the overrides
#   INCEPTION     weights of the FID Inception network, up to mixed_6 or more
#   RESNET        weights of a residual network for CIFAR-10 (sagan/features/cifar_resnet.py)
#   PEER          a PyTorch program to run beside: takes --size --batch --d-steps --repeats --device
#                 and --bf16 --channels-last --compile; its last line is JSON with images_per_second
#   PICTURES      folder of pictures, a sub-folder per class: how fast they are read for 128 px
#   PEER_IMAGES   folder of 32 px images that another program's training ended with, to be scored
#   STAGES        default: agree bench beside train score gate
#   BUDGET        seconds of training for each of cifar10 and cifar10_sngan (3600)
#   LIMIT         seconds that this command may take (86400). When a twentieth is left, what runs is
#                 asked to stop; it gets 15 s for that, a training 120 s, and is killed then
#   SAMPLES       images that are scored (50000);  REAL  of the train set that they are held against
#                 (all);  SEEDS_STEPS  steps of each run of gate (2000)
#   CURVE_STEPS   between the checkpoints that are kept and scored for a curve (5000), by
#                 CURVE_IMAGES samples each (10000)
#   BATCH         images in a batch at 32 px (64), four times as many at 128 px
#   BESIDE        SIZE:BATCH of what runs beside PEER (with that BATCH: 32:64 32:512 128:256)
#   PEER_FORMS    of its options (eager channels-last compile channels-last,compile)
#   REPEATS       of each timing (20);  DEVICE  of PEER (cuda); with cpu, jax needs no GPU either
#   PYTHON        the interpreter that sagan is installed for (python3)
set -euo pipefail

dry=
if [ "${1:-}" = --dry-run ]; then dry=1; shift; fi
if [ $# = 0 ]; then sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; fi
out=$1; shift
refuse() { printf '%s: %s\n' "$0" "$*" >&2; exit 2; }
case $out in -*) refuse "$out; allowed before OUT: --dry-run" ;; esac
for word in "$@"; do
  case $word in
    -*) refuse "$word; allowed after OUT: section.field=value; --dry-run goes before it" ;;
    ?*=*) ;;
    *) refuse "$word; allowed after OUT: section.field=value" ;;
  esac
done
python=${PYTHON:-python3}
read -ra stages <<<"${STAGES:-agree bench beside train score gate}"
budget=${BUDGET:-3600} limit=${LIMIT:-86400} samples=${SAMPLES:-50000}
batch=${BATCH:-64} repeats=${REPEATS:-20} device=${DEVICE:-cuda}
data=${DATA:+data.dir=$DATA}
cifar=(${data:+"$data"} "train.batch_size=$batch" "$@")
batch_128=$((4 * batch))
read -ra beside <<<"${BESIDE:-32:$batch 32:$((8 * batch)) 128:$batch_128}"
read -ra peer_forms <<<"${PEER_FORMS:-eager channels-last compile channels-last,compile}"
real=$((samples < 10000 ? samples : 10000))  # the test set has no more
curve=${CURVE_IMAGES:-$real}
against=(${REAL:+--num-real "$REAL"})
margin=$((limit / 20))  # for saving and for ending
grace=15  # seconds for a step that is asked to stop, before it is killed
child=
if [ -z "$dry" ] && [ "$device" != cpu ] &&
  ! "$python" -c 'import sys, jax; sys.exit(jax.default_backend() == "cpu")'; then
  refuse "jax of $python sees no GPU (DEVICE=cpu: measure the CPU)"
fi
mkdir -p "$out/log"
export SAGAN_CACHE="${SAGAN_CACHE:-$(realpath "$out")/cache}"

say() { printf '== %s s: %s\n' "$SECONDS" "$*" >&2; }
sagan() { printf '%s\0' "$python" -m sagan "$@"; }
left() { if [ -n "$stopped" ]; then echo 0; else echo $((limit - SECONDS)); fi; }
out_of_time() {
  if [ -n "$stopped" ]; then say "stopped; the same command goes on"
  else say "LIMIT=$limit is spent; the same command goes on"; fi
  report || true
  exit 42
}
report() {
  if [ -n "$dry" ]; then echo "$python -m sagan.bench.folder $out"; return; fi
  machine >>"$out/machine.txt"
  sort -u -o "$out/machine.txt" "$out/machine.txt"
  "$python" -m sagan.bench.folder "$out"
}
machine() {  # where and with what; a line more for each other one that went on
  local at gpu
  at=$(git -C "$(dirname "$0")" describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)
  gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || echo "no GPU")
  echo "commit $at; $gpu; $(nproc) x $(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo);" \
    "$("$python" -c 'import sys, jax; print("jax", jax.__version__, "Python", sys.version.split()[0])')"
}
has() { [ -n "$dry" ] || [ -e "$1" ]; }
has_data() {  # OVERRIDE…: is anything said of where the images are?
  local word
  if [ -n "${DATA:-}" ]; then return; fi
  for word in "$@"; do
    case $word in data.dir=* | data.name=*) return ;; esac
  done
  return 1
}

# Passes a request to stop on, and waits for what is saved then.
stopped=
trap 'stopped=1; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true' TERM INT

# within SECONDS FILE CMD…: runs a command whose stdout becomes FILE, for so long at most.
# Returns its status; 42 if this script was asked to stop and it did not come to its end.
within() {
  local seconds=$1 file=$2 rc=0 log; shift 2
  log=$out/log/$(basename "$file" .part).txt
  if [ -n "$dry" ]; then printf '%q ' "$@"; printf '> %s\n' "$file"; return; fi
  # To the command alone: a training hears one SIGTERM as a wish to save, two as an order to end.
  # Where the whole group is told to stop, tee stays for the last words.
  timeout --foreground --preserve-status --kill-after="$grace" "$seconds" "$@" \
    >"$file" 2> >(trap '' TERM INT; exec tee -a "$log" >&2) &
  child=$!
  [ -z "$stopped" ] || kill -TERM "$child" 2>/dev/null || true  # asked just before it began
  wait "$child" || rc=$?
  while kill -0 "$child" 2>/dev/null; do rc=0; wait "$child" || rc=$?; done
  child=
  if [ -n "$stopped" ] && [ "$rc" != 0 ]; then rc=42; fi
  return "$rc"
}

# result FILE CMD…: a stage whose result is what CMD prints; done once, also if it failed.
result() {
  local file=$out/$1 rc=0 seconds; shift
  if has_result "$file"; then return; fi
  seconds=$(($(left) - margin))
  if [ "$seconds" -le 0 ]; then out_of_time; fi
  say "$file"
  within "$seconds" "$file.part" "$@" || rc=$?
  if [ -n "$dry" ]; then return; fi
  case $rc in
    0) mv "$file.part" "$file" ;;
    42 | 143) out_of_time ;;
    *)
      # However a program ends that is told to.
      if [ "$rc" -ge 128 ] && [ "$(left)" -le "$margin" ]; then out_of_time; fi
      if [ "$rc" = 1 ] && says_no "$file"; then
        mv "$file.part" "$file"
      else
        mv "$file.part" "$file.failed"
        say "$file: failed with $rc, see $out/log"
      fi
      ;;
  esac
}
says_no() {  # Is 1 the status of a result here, and is there one?
  case ${1##*/} in agree.json | gate.json) [ -s "$1.part" ] ;; *) return 1 ;; esac
}
has_result() { [ -z "$dry" ] && { [ -e "$1" ] || [ -e "$1.failed" ]; }; }

bench() {  # FILE CONFIG ARGUMENT…
  local file=$1; shift
  mapfile -d '' -t command < <(sagan bench "$@" --json)
  result "$file" "${command[@]}"
}

# train NAME: until BUDGET seconds of it are spent, over as many calls as that takes.
train() {
  local name=$1 spent piece begin rc grace=120
  while [ ! -e "$out/$name.done" ] && [ ! -e "$out/$name.failed" ]; do
    spent=$(cat "$out/$name.seconds" 2>/dev/null || echo 0)
    piece=$((budget - spent))
    if [ "$piece" -le 0 ]; then touch "$out/$name.done"; break; fi
    if [ "$piece" -gt $(($(left) - margin)) ]; then
      piece=$(($(left) - margin))
      if [ "$piece" -le "$margin" ]; then out_of_time; fi
    fi
    mapfile -d '' -t command < <(sagan train "$name" \
      "checkpoint.keep_every_steps=${CURVE_STEPS:-5000}" "${cifar[@]}" --workdir "$out/$name")
    say "training $name for $piece s; $spent of $budget s are done"
    begin=$SECONDS rc=0
    within "$piece" "$out/$name.out" "${command[@]}" || rc=$?
    if [ -n "$dry" ]; then break; fi
    echo $((spent + SECONDS - begin)) >"$out/$name.seconds"
    if [ "$rc" -ge 128 ] && [ "$(left)" -le "$margin" ]; then rc=42; fi  # killed while it saved
    case $rc in
      0) touch "$out/$name.done" ;;
      42 | 143) ;;  # saved; or still starting when its time came
      *)
        mv "$out/$name.out" "$out/$name.failed"
        say "training $name ended with $rc, see $out/log"
        ;;
    esac
  done
}

# score NAME WHAT…: `sagan eval WHAT` by each network that there are weights of.
score() {
  local name=$1; shift
  if [ -n "${INCEPTION:-}" ]; then
    mapfile -d '' -t command < <(sagan eval "$@" --metrics fid_768,sfid --weights "$INCEPTION" "${against[@]}" --json)
    result "score_${name}_inception.json" "${command[@]}"
  fi
  if [ -n "${RESNET:-}" ] && [ "$name" != peer ]; then  # its images have no classes
    mapfile -d '' -t command < <(sagan eval "$@" --features cifar_resnet --weights "$RESNET" \
      --metrics classifier_score,class_accuracy,classifier_fid "${against[@]}" --json)
    result "score_${name}_resnet.json" "${command[@]}"
  fi
}

stage_agree() { bench agree.json cifar10 "${cifar[@]}" train.batch_size=16 --against-cpu; }

stage_bench() {
  local type
  for type in float32 bfloat16; do
    bench "bench_cifar10_$type.json" cifar10 "${cifar[@]}" "model.dtype=$type" \
      --repeats "$repeats" --features --start --trace "$out/trace/cifar10_$type" \
      --out "$out/bench_cifar10_$type.png"
    bench "bench_imagenet128_$type.json" imagenet128 data.name=synthetic \
      train.batch_size="$batch_128" "$@" "model.dtype=$type" --repeats "$repeats" \
      --parts train,input --start --trace "$out/trace/imagenet128_$type"
    bench "attention_$type.json" cifar10 "$@" "model.dtype=$type" --attention \
      --batch-size $((batch < 4 ? 1 : batch / 4)) --repeats "$repeats" --out "$out/attention_$type.png"
  done
  bench bench_imagenet128_flash.json imagenet128 data.name=synthetic \
    train.batch_size="$batch_128" "$@" model.dtype=bfloat16 model.attention_form=flash \
    --repeats "$repeats" --parts train --trace "$out/trace/imagenet128_flash"
  if [ -n "${PICTURES:-}" ]; then
    bench bench_folder_128.json folder "data.dir=$PICTURES" model.image_size=128 \
      model.attention=64 train.batch_size="$batch" "$@" --repeats "$repeats" --parts train,input
  fi
  bench sweep_batch.json cifar10 "${cifar[@]}" --repeats "$repeats" --out "$out/sweep_batch.png" \
    --sweep "train.batch_size=$batch,$((2 * batch)),$((4 * batch)),$((8 * batch))"
  bench sweep_size.json imagenet128 data.name=synthetic train.batch_size="$batch" "$@" \
    model.attention=16 --repeats "$repeats" --out "$out/sweep_size.png" \
    --sweep model.image_size=32,64,128
}

# At each size and batch every form of the peer alone, then its fastest by turns with ours.
stage_beside() {
  if [ -z "${PEER:-}" ]; then say "beside: no PEER"; return; fi
  local at type form words best name ours
  for at in "${beside[@]}"; do
    for type in float32 bfloat16; do
      name=${at/:/_}_$type
      for form in "${peer_forms[@]}"; do
        read -ra words <<<"$(peer "$at" "$type" "$form")"
        result "peer_${name}_$form.json" "${words[@]}"
      done
      best=$(fastest "$out/peer_${name}_") || { say "beside $name: the peer runs in no form"; continue; }
      ours=(cifar10 "${cifar[@]}")
      if [ "${at%:*}" = 128 ]; then ours=(imagenet128 data.name=synthetic "$@"); fi
      bench "beside_$name.json" "${ours[@]}" "train.batch_size=${at#*:}" "model.dtype=$type" \
        --repeats "$repeats" --beside "$(peer "$at" "$type" "$best")" --out "$out/beside_$name.png"
    done
  done
}
peer() {  # SIZE:BATCH TYPE FORM
  local words=() steps=5
  if [ "${1%:*}" = 128 ]; then steps=1; fi
  if [ "$2" = bfloat16 ]; then words+=(--bf16); fi
  if [ "$3" != eager ]; then words+=("--${3/,/ --}"); fi
  echo "$python $PEER --size ${1%:*} --batch ${1#*:} --d-steps $steps --repeats $repeats" \
    "--device $device ${words[*]}"
}
fastest() {
  if [ -n "$dry" ]; then echo "FASTEST"; return; fi
  "$python" - "$1" <<'PYTHON'
import glob, json, sys
rates = {}
for path in glob.glob(sys.argv[1] + "*.json"):
    try:
        rate = float(json.loads(open(path).read().strip().splitlines()[-1])["images_per_second"])
    except (ValueError, LookupError, TypeError):
        continue  # the page says so
    rates[path[len(sys.argv[1]):-len(".json")]] = rate
sys.exit(print(max(rates, key=rates.get)) if rates else 1)
PYTHON
}

stage_train() {
  if ! has_data "$@"; then say "train: no DATA"; return; fi
  train cifar10
  train cifar10_sngan
}

stage_score() {
  local name
  for name in cifar10 cifar10_sngan; do
    if has "$out/$name/config.json"; then
      score "$name" "$out/$name" --num-images "$samples"
      mapfile -d '' -t command < <(sagan sample "$out/$name" \
        --classes 0,1,2,3,4,5,6,7,8,9 --num 8 --grid --out "$out/$name.png")
      result "sample_$name.txt" "${command[@]}"
      if [ -n "${INCEPTION:-}" ]; then
        mapfile -d '' -t command < <(sagan eval "$out/$name" --step all --num-images "$curve" \
          --metrics fid_768 --weights "$INCEPTION" "${against[@]}" --json)
        result "curve_$name.json" "${command[@]}"
      fi
    fi
  done
  if [ -z "${DATA:-}" ]; then say "score: no DATA, so no real images"; return; fi
  local ours=("$data" "$@")
  score real --images cifar10:test --reference cifar10:train --num-images "$real" "${ours[@]}"
  if [ -n "${PEER_IMAGES:-}" ]; then
    score peer --images "$PEER_IMAGES" --reference cifar10:train "${ours[@]}"
  fi
}

stage_gate() {
  if ! has_data "$@"; then say "gate: no DATA"; return; fi
  local grace=120  # it trains
  # Without RESNET the judge is fitted on the data first.
  local judge=${RESNET:+cifar_resnet} steps=${SEEDS_STEPS:-2000}
  bench gate.json cifar10 "${cifar[@]}" "train.steps=$steps" "eval.features=${judge:-classifier}" \
    "eval.metrics=classifier_fid,classifier_score,class_accuracy" eval.best_metric=classifier_fid \
    "eval.num_images=$real" --against-float32 "$out/gate" ${RESNET:+--weights "$RESNET"}
}

for stage in "${stages[@]}"; do
  "stage_$stage" "$@"
done
report
