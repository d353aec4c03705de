"""train: tokenizer training, pre-training and fine-tuning in torch; one trainer for every stage.

Main noun: `Trainer`. Main verb: `train`.
May open: core, text, model, engine, clients, tasks, agent, runs.
"""
