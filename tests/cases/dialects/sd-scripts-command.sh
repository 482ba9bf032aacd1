#!/bin/sh
accelerate launch --num_cpu_threads_per_process 2 train_network.py \
  --pretrained_model_name_or_path="$MODEL" \
  --train_data_dir="/data/cats" --output_dir=/out \
  --network_module=networks.lora --network_dim=8 --network_alpha 4 \
  --optimizer_args weight_decay=0.1 "betas=0.9,0.99" \
  --max_train_steps=1000 --xformers
