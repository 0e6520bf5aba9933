#!/usr/bin/env bash
# The recipe of the shipped small PCVOS network: per-clip training with seven frames per sample,
# from the weights of a small STCN network (START). Results: runs/NAME.
#   scripts/train_pcvos_small.sh DAVIS_ROOT STATIC_ROOT NAME START [further flags of train.py]
# Repeat the command after a stop to resume. The shipped network started where the last part of
# train_small.sh starts, and so did the network of the ablation with traditional training:
#   … NAME runs/SMALL_2/weights.pth
#   … NAME runs/SMALL_2/weights.pth --frames 3 --clip_frames 1 --set dice_weight=0
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 4 "$@"
begin_small_recipe "$@"
start=$4
shift 4
cd "$repository"
train_stage synthetic "$name" "${recipe[@]}" "${per_clip[@]}" \
    --network pcvos_small --load_network "$start" --set system=pcvos \
    --iterations 1500 --lr 3e-4 --save_every 250 "$@"
