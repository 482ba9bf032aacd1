accelerate launch train_dreambooth_lora.py --pretrained_model_name_or_path=$MODEL --instance_data_dir=data \
  --instance_prompt="a sks dog" --rank 8 --learning_rate=1e-4 --max_train_steps=500
