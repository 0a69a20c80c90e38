#!/usr/bin/env bash
# Train with several processes, one for each GPU; without a GPU, on the CPU.
# usage: $0 CONFIG PROCESSES [options of tools/train.py]
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR and PORT.
# If a process dies: set MAX_RESTARTS=3 to start all of them again, three times at most;
# with --resume they go on from the last checkpoint. On one machine PORT is not needed then.
set -eu
[ $# -ge 2 ] || { echo "usage: $0 CONFIG PROCESSES [options of tools/train.py]" >&2; exit 2; }
config=$1
processes=$2
shift 2
tools=$(cd "$(dirname "$0")" && pwd)
nodes=${NNODES:-1}
address=${MASTER_ADDR:-127.0.0.1}
meet=(--node_rank="${NODE_RANK:-0}" --master_addr="$address" --master_port="${PORT:-29500}")
if [ "${MAX_RESTARTS:-0}" -gt 0 ]; then
  # A store for each start: one that is kept has the addresses of processes that died.
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
  meet=(--max_restarts="$MAX_RESTARTS" --rdzv_backend=c10d --rdzv_id=train
        --rdzv_endpoint="$address:${PORT:-29500}")
  # On one machine at a port of its own: one that is taken would be waited for in silence.
  [ "$nodes" != 1 ] || meet=(--standalone --max_restarts="$MAX_RESTARTS" --local_addr=127.0.0.1)
fi
PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}" exec python -m torch.distributed.run \
  --nnodes="$nodes" "${meet[@]}" --nproc_per_node="$processes" \
  "$tools/train.py" "$config" --launcher pytorch "$@"
