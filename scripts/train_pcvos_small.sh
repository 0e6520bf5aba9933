#!/usr/bin/env bash
# The recipe of the shipped small PCVOS network: per-clip training, seven frames a sample, from the small STCN network. Results: runs/NAME.
#   scripts/train_pcvos_small.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py]
# Given again after a stop, it goes on where it was. The shipped one began where the last part of train_small.sh does, and so did the ablations' others:
#   … NAME --load_network runs/SMALL_2/weights.pth
#   … NAME --load_network runs/SMALL_2/weights.pth --frames 3 --clip_frames 1 --set dice_weight=0            refinement, traditional training
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
begin_small_recipe "$@"
shift 3
cd "$repository"
train_stage synthetic "$name" "${recipe[@]}" --network pcvos_small --load_network weights/stcn_small.pth "${per_clip[@]}" \
    --set system=pcvos --iterations 1500 --lr 3e-4 --save_every 250 "$@"
