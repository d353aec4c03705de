"""train: tokenizer training, pre-training and fine-tuning; one trainer for every model stage.

Main noun: `Recipe`. Main verb: `main` (of `entry`). Importing the room loads no torch; its model stages do.
May open: core, text, model, engine, clients, tasks, agent, runs.
"""
