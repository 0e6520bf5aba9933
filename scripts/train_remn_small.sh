#!/usr/bin/env bash
# The recipe of the shipped small REMN network: foreground reinforcing and redundancy reduction, seven frames a sample, from the shipped small STCN network. Results: runs/NAME.
#   scripts/train_remn_small.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py]
# Given again after a stop, it goes on where it was.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 3 "$@"
davis_root=$(realpath "$1") static_root=$(realpath "$2") name=$3
shift 3
cd "$repository"
train_stage synthetic "$name" --network remn_small --load_network weights/stcn_small.pth --frames 7 --max_skip 4 --set reduce_frames=4 system=remn \
    --amp bf16 --davis_root "$davis_root" --static_root "$static_root" --mix video=0.4 static=0.25 synthetic=0.35 --iterations 1500 --lr 3e-4 \
    --cache_megabytes 3000 --save_every 250 "$@"
