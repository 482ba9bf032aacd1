accelerate launch train_db.py --pretrained_model_name_or_path=base.safetensors --train_data_dir=img \
  --output_dir=out --resolution=512,512 --network_module=networks.lora --network_dim=16 --network_alpha=8 \
  --learning_rate=1e-4 --max_train_steps=1500 --max_resolution=512
