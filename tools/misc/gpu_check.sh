#!/usr/bin/env bash
# Check this package on one GPU and time it, in a quarter of an hour. In the project's
# root:
#
#     bash tools/misc/gpu_check.sh [FOLDER]
#
# FOLDER is for the results (default: work_dirs/gpu_check). Variables:
#
# PYTHON=...   the interpreter (default: .venv/bin/python, else python3)
# MINUTES=13   no stage begins after, and each is cut there
# STAGES=...   only stages whose name matches this pattern, as STAGES='parity|resume'
# TASKS=...    only these of "cls seg det" in the stages of gpu_check.py
# PEAK=...     TFLOP/s of the GPU in TF32 (default: by its name), for the share of it
# CUDA_OFF=1   a dry run on the CPU, with fewer iterations and no limit for a stage
#
# Each stage leaves a log in FOLDER. summary.txt has a line for each: PASS, FAIL, INFO
# (times something, and cannot fail) or SKIP (no time left). The exit code is 1 if one
# failed.
set -u
OUT=${1:-work_dirs/gpu_check}
OUT=$(mkdir -p "$OUT" && cd "$OUT" && pwd) || exit 1
MINUTES=${MINUTES:-13} STAGES=${STAGES:-.} CUDA_OFF=${CUDA_OFF:-}
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
[ -n "$CUDA_OFF" ] && export CUDA_VISIBLE_DEVICES=-1
: > "$OUT/summary.txt"
failed=0

say() { printf '%-11s %-5s %4ss  %s\n' "$@" | tee -a "$OUT/summary.txt"; }

# stage NAME KIND SECONDS COMMAND...: KIND is check or info.
stage() {
  local name=$1 kind=$2 limit=$3 begin=$SECONDS left word=PASS code
  shift 3
  [[ $name =~ $STAGES ]] || return 0
  left=$((MINUTES * 60 - SECONDS))
  if ((left < 20)); then say "$name" SKIP 0 'no time left'; return 0; fi
  if ((limit > left)) || [ -n "$CUDA_OFF" ]; then limit=$left; fi
  timeout -k 5 "$limit" "$@" > "$OUT/$name.log" 2>&1
  code=$?
  [ "$kind" = info ] && word=INFO
  if [ $code -ne 0 ] && [ "$kind" = check ]; then word=FAIL failed=1; fi
  say "$name" $word $((SECONDS - begin)) "$([ $code -eq 0 ] || echo "exit code $code; ")$(
    sed -n 's/^RESULT //p' "$OUT/$name.log" | paste -sd';' | cut -c1-600)"
}

check() { "$PYTHON" tools/misc/gpu_check.py "$1" --out "$OUT"; }
export -f check && export PYTHON OUT

gpu=$("$PYTHON" -c 'import torch
print(torch.cuda.get_device_name() if torch.cuda.is_available() else "")')
if [ -z "$gpu$CUDA_OFF" ]; then
  echo 'error: torch finds no GPU (CUDA_OFF=1 tries the script without one)'
  exit 1
fi
# In TF32 without sparsity, in which torch runs convolutions by default.
case $gpu in
  *H100* | *H200*) known=494 ;; *A100*) known=156 ;; *L40*) known=90 ;;
  *A10*) known=62 ;; *L4*) known=60 ;; *V100*) known=15.7 ;; *T4*) known=8.1 ;;
  *) known= ;;
esac
PEAK=${PEAK:-$known}

[ -d data/textured_shapes ] ||
  "$PYTHON" tools/dataset_converters/make_textured_shapes.py > "$OUT/data.log" || exit 1

few='train_dataloader.dataset.indices=32 train_dataloader.batch_size=4
  train_cfg.max_epochs=2 train_cfg.val_interval=2 val_dataloader.dataset.indices=8
  default_hooks.alternate.warmup=1 default_hooks.checkpoint.interval=1'
det=configs/sr4ir/faster-rcnn_edsr_tiny.py
time_train="$PYTHON tools/analysis_tools/benchmark_train.py"
often='--iterations 12 --warmup 4'
[ -n "$CUDA_OFF" ] && often='--iterations 1 --warmup 1 --no-memory'

stage env       check 60  "$PYTHON" -m mmsr4ir.check_env
stage reference check 120 env CUDA_VISIBLE_DEVICES=-1 bash -c 'check reference'
stage ops       check 60  bash -c 'check ops'
# The tests hide the GPU, unless the variable says which is to be seen.
stage served    check 90  env CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-0}" \
  "$PYTHON" -m pytest -q -n0 -p no:cacheprovider tests/test_compat/test_mmcv_ops.py \
  tests/test_compat/test_torch_ops.py tests/test_compat/test_deform_conv.py
stage parity    check 150 bash -c 'check parity'
stage resume    check 90  bash -c 'check resume'
stage amp       check 90  bash -c 'check amp'
# One process still tests the wrappers, NCCL and the end of the process group.
stage nccl      check 120 "$PYTHON" -m torch.distributed.run --nproc_per_node=1 \
  --master_port=29533 tools/train.py $det --launcher pytorch --no-data-check \
  --work-dir "$OUT/nccl" --cfg-options $few
stage training  check 240 "$PYTHON" tools/train.py $det --work-dir "$OUT/training" \
  $([ -n "$CUDA_OFF" ] && echo --cfg-options $few)
stage tested    check 60  "$PYTHON" tools/test.py "$OUT"/training/*.py \
  "$(cat "$OUT/training/last_checkpoint" 2> /dev/null)" --work-dir "$OUT/tested"
stage waits     info  60  bash -c 'check waits'
stage determinism info 60  bash -c 'check deterministic'
stage time_det  info  120 $time_train $det $often ${PEAK:+--peak-tflops $PEAK}
stage time_ways info  120 $time_train $det $often \
  --compare plain channels_last bfloat16 float16
stage inference info  60  "$PYTHON" tools/analysis_tools/benchmark_inference.py \
  "$OUT/training" --two-tools data/textured_shapes/val --iterations 20 \
  --switches channels_last bfloat16
grep -hE '^\||peak memory|train step' "$OUT"/time_*.log "$OUT"/inference.log \
  > "$OUT/tables.txt" 2> /dev/null
echo "$SECONDS s; logs, summary.txt and tables.txt are in $OUT"
exit $failed
