# settings
$model = "D:\models\base.safetensors"
$data = "D:\train"
$lr = "1e-4"

accelerate launch --num_cpu_threads_per_process=8 "./train_network.py" `
  --pretrained_model_name_or_path=$model `
  --train_data_dir=$data `
  --output_dir="./output" `
  --network_module=networks.lora `
  --learning_rate=$lr `
  --network_dim=32 `
  --network_alpha=32 `
  --max_train_epoches=10 `
  --resolution=512,512 `
  --output_name=my lora `
  --use_8bit_adam
