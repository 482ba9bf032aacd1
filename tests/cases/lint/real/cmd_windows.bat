@echo off
cd /d C:\sd-scripts
call venv\Scripts\activate.bat
accelerate launch sdxl_train_network.py ^
  --pretrained_model_name_or_path="C:\models\sdxl.safetensors" ^
  --train_data_dir="C:\train\img" ^
  --output_dir="C:\train\out" ^
  --resolution="1024,1024" ^
  --network_module=networks.lora ^
  --network_dim=64 ^
  --learning_rate=4e-4 ^
  --max_train_epochs=8 ^
  --mixed_precision=fp16 ^
  --save_precision=fp16 ^
  --cache_latents ^
  --cache_text_encoder_outputs ^
  --caption_tag_dropout_rate=0.1 ^
  --clip_skip=2
pause
