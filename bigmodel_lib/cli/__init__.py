"""The programs: `bigmodel pretrain | finetune | generate | chat | evaluate`."""
