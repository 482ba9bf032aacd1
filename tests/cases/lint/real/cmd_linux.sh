#!/bin/bash
# trains the style
export HF_HOME=/cache
accelerate launch --num_cpu_threads_per_process 1 train_network.py \
  --pretrained_model_name_or_path="/models/sd15.safetensors" \
  --train_data_dir="/data/style" \
  --output_dir="/out" --output_name=style \
  --network_module=networks.lora --network_dim=32 --network_alpha=16 \
  --resolution=512 --train_batch_size=2 --learning_rate=1e-4 \
  --lr_scheduler=cosine_with_restarts --lr_warmup_steps=0.05 --lr_scheduler_num_cycles=2 \
  --max_train_epochs=10 --save_every_n_epochs=1 --mixed_precision=fp16 \
  --caption_extension=".txt" --shuffle_caption --keep_tokens=1 \
  --enable_bucket --xformers --cache_latents --seed=42 --clip_skip=2
