#!/usr/bin/env bash
# The recipe of the shipped small REMN network: foreground reinforcing and redundancy reduction, six frames a sample, from the small STCN network. Results: runs/NAME.
#   scripts/train_remn_small.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py]
# Given again after a stop, it goes on where it was. The shipped one began where the last part of train_small.sh does: … NAME --load_network runs/SMALL_2/weights.pth
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
begin_small_recipe "$@"
shift 3
cd "$repository"
train_stage synthetic "$name" "${recipe[@]}" --network remn_small --load_network weights/stcn_small.pth --frames 6 --batch_size 2 --max_skip 4 \
    --set reduce_frames=4 system=remn --iterations 1500 --lr 3e-4 --save_every 250 "$@"
