#!/usr/bin/env bash
# The recipe of the shipped small PCVOS network: per-clip training, seven frames a sample, from the shipped small STCN network. Results: runs/NAME.
#   scripts/train_pcvos_small.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py]
# Given again after a stop, it goes on where it was. For the ablations, from the same weights and for as long:
#   … NAME --network stcn_small                                      per-clip training without refinement
#   … NAME --frames 3 --clip_frames 1 --set dice_weight=0            refinement, traditional training
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
usage_if_fewer_than 3 "$@"
davis_root=$(realpath "$1") static_root=$(realpath "$2") name=$3
shift 3
cd "$repository"
train_stage synthetic "$name" --network pcvos_small --load_network weights/stcn_small.pth --frames 7 --clip_frames 3 --set dice_weight=1.0 system=pcvos \
    --amp bf16 --davis_root "$davis_root" --static_root "$static_root" --mix video=0.4 static=0.25 synthetic=0.35 --iterations 1500 --lr 3e-4 \
    --cache_megabytes 3000 --save_every 250 "$@"
