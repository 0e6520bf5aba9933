#!/usr/bin/env bash
# The recipe of the shipped small REMN network: foreground reinforcing and redundancy reduction with
# six frames per sample, from the weights of a small STCN network (START). Results: runs/NAME.
#   scripts/train_remn_small.sh DAVIS_ROOT STATIC_ROOT NAME START [further flags of train.py]
# Repeat the command after a stop to resume. The shipped network started where the last part of
# train_small.sh starts, from runs/SMALL_2/weights.pth.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 4 "$@"
begin_small_recipe "$@"
start=$4
shift 4
cd "$repository"
train_stage synthetic "$name" "${recipe[@]}" --network remn_small --load_network "$start" \
    --frames 6 --batch_size 2 --max_skip 4 --set reduce_frames=4 system=remn \
    --iterations 1500 --lr 3e-4 --save_every 250 "$@"
