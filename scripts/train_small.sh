#!/usr/bin/env bash
# The recipe of the shipped small network: real clips, stills and made-up clips with real cut-outs, from scratch on two CPU cores.
#   scripts/train_small.sh DAVIS_ROOT STATIC_ROOT RUN_ID [further flags of train.py]
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2,3s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
davis_root=$(realpath "$1") static_root=$(realpath "$2") run_id=$3
shift 3
cd "$(dirname "$0")/.."
exec "${PYTHON:-python}" train.py --stage synthetic --network stcn_small --id "$run_id" --amp bf16 \
    --davis_root "$davis_root" --static_root "$static_root" --mix video=0.4 static=0.25 synthetic=0.35 \
    --iterations 8000 --cache_megabytes 3000 --save_every 500 "$@"
