#!/bin/bash
pretrained_model="./sd-models/model.ckpt" # base model path
train_data_dir="./train/aki" # folder of pictures
resolution="512,512"
batch_size=1
max_train_epoches=10
network_dim=32
network_alpha=32
