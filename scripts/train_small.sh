#!/usr/bin/env bash
# The recipe of stcn_small, which version 0.9.0 shipped. It learns from scratch, on two CPU cores,
# from video clips, still images, and synthetic clips with cut-out objects. Part 1 learns quickly.
# Part 2 continues from its weights at half the learning rate, with a longer average. Part 3 has
# seven frames per sample and trains clip by clip, as PCVOS does.
# Results: runs/NAME_1, runs/NAME_2 and runs/NAME.
#   scripts/train_small.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py for all parts]
# Repeat the command after a stop to resume.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
begin_small_recipe "$@"
shift 3
cd "$repository"
train_stage synthetic "${name}_1" "${recipe[@]}" --network stcn_small \
    --iterations 8000 --save_every 500 "$@"
train_stage synthetic "${name}_2" "${recipe[@]}" --network stcn_small \
    --load_network "runs/${name}_1/weights.pth" \
    --iterations 4200 --lr 3e-4 --average_decay 0.999 --save_every 500 "$@"
train_stage synthetic "$name" "${recipe[@]}" "${per_clip[@]}" --network stcn_small \
    --load_network "runs/${name}_2/weights.pth" \
    --iterations 1500 --lr 3e-4 --save_every 250 "$@"
