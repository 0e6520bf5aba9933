#!/usr/bin/env bash
# The recipe of stcn_small, the network that pcvos_small and remn_small began from: real clips, stills and made-up clips with real cut-outs, from scratch on two CPU cores, in three parts: one that
# learns quickly, one from its weights at half the learning rate, averaged over longer, and one of seven frames a sample, clip by clip as PCVOS trains.
# Results: runs/NAME_1, runs/NAME_2 and runs/NAME.
#   scripts/train_small.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py for all parts]
# Given again after a stop, it goes on where it was.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
begin_small_recipe "$@"
shift 3
cd "$repository"
train_stage synthetic "${name}_1" "${recipe[@]}" --network stcn_small --iterations 8000 --save_every 500 "$@"
train_stage synthetic "${name}_2" "${recipe[@]}" --network stcn_small --iterations 4200 --load_network "runs/${name}_1/weights.pth" --lr 3e-4 --average_decay 0.999 \
    --save_every 500 "$@"
train_stage synthetic "$name" "${recipe[@]}" --network stcn_small --load_network "runs/${name}_2/weights.pth" "${per_clip[@]}" --iterations 1500 --lr 3e-4 --save_every 250 "$@"
