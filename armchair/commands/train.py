"""`armchair train bc|crr|d4pg|td3_bc|iql`: a policy from logged data only."""

import tyro

from pipeline.batch_rl.config import TRAININGS


def main(args: list[str]) -> None:
    """Runs the stage; prints the folder of the trained policy."""
    config = tyro.extras.subcommand_cli_from_dict(
        {training.name: training for training in TRAININGS.values()}, args=args, prog="armchair train",
        config=(tyro.conf.EnumChoicesFromValues,),
    )  # fmt: skip
    from pipeline import threads
    from pipeline.batch_rl import trainer

    threads.for_dense_learners()
    print(trainer.train(config))
