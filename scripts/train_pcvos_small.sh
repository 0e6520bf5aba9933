#!/usr/bin/env bash
# The recipe of the shipped small PCVOS network: per-clip training, seven frames a sample, from the small STCN network. Results: runs/NAME.
#   scripts/train_pcvos_small.sh DAVIS_ROOT STATIC_ROOT NAME START [further flags of train.py]
# Given again after a stop, it goes on where it was. START: weights of a small STCN network; the shipped
# one began where the last part of train_small.sh does, and so did the ablations' others:
#   … NAME runs/SMALL_2/weights.pth
#   … NAME runs/SMALL_2/weights.pth --frames 3 --clip_frames 1 --set dice_weight=0            refinement, traditional training
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 4 "$@"
begin_small_recipe "$@"
start=$4
shift 4
cd "$repository"
train_stage synthetic "$name" "${recipe[@]}" --network pcvos_small --load_network "$start" "${per_clip[@]}" \
    --set system=pcvos --iterations 1500 --lr 3e-4 --save_every 250 "$@"
