#!/usr/bin/env bash
# Train with several processes, one for each GPU; without a GPU, on the CPU.
# usage: $0 CONFIG PROCESSES [options of tools/train.py]
# MAX_RESTARTS=3 with --resume: start so often again from the last checkpoint.
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR and PORT.
set -eu
[ $# -ge 2 ] || { echo "usage: $0 CONFIG PROCESSES [options of tools/train.py]" >&2; exit 2; }
config=$1
processes=$2
shift 2
tools=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" exec python -m torch.distributed.run \
  --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
  --nproc_per_node="$processes" --max_restarts="${MAX_RESTARTS:-0}" \
  "$tools/train.py" "$config" --launcher pytorch "$@"
