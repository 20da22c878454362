"""`armchair train bc|crr|d4pg|td3_bc|iql`: a policy from logged data only."""

from collections.abc import Callable

import tyro

from pipeline.batch_rl.config import TRAININGS, Training


def main(args: list[str]) -> None:
    """Runs the stage; prints the folder of the trained policy."""
    trainings: dict[str, Callable[..., Training]] = {training.name: training for training in TRAININGS.values()}
    config = tyro.extras.subcommand_cli_from_dict(
        trainings, args=args, prog="armchair train", config=(tyro.conf.EnumChoicesFromValues,)
    )
    from datasets.presets import ObservationPreset
    from pipeline import threads
    from pipeline.batch_rl import trainer

    threads.for_policies(config.observations is ObservationPreset.PIXELS)
    print(trainer.train(config))
