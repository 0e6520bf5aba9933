#!/usr/bin/env bash
# The recipe of the shipped small network: real clips, stills and made-up clips with real cut-outs, from scratch on two CPU cores, in two parts: one that
# learns quickly, and one from its weights at half the learning rate, averaged over longer. Results: runs/NAME_1 and runs/NAME.
#   scripts/train_small.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py for both parts]
# Given again after a stop, it goes on where it was.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 3 "$@"
davis_root=$(realpath "$1") static_root=$(realpath "$2") name=$3
shift 3
cd "$repository"
recipe=(--network stcn_small --amp bf16 --davis_root "$davis_root" --static_root "$static_root" --mix video=0.4 static=0.25 synthetic=0.35
    --cache_megabytes 3000 --save_every 500)
train_stage synthetic "${name}_1" "${recipe[@]}" --iterations 8000 "$@"
train_stage synthetic "$name" "${recipe[@]}" --iterations 4200 --load_network "runs/${name}_1/weights.pth" --lr 3e-4 --average_decay 0.999 "$@"
