"""What every test session needs before TensorFlow is imported, and the same examples everywhere."""

import os
import signal

import hypothesis

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # tests are the same everywhere
os.environ.setdefault("MPLBACKEND", "agg")

# What a shell starts in the background ignores Ctrl-C, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.postgres"]  # a server for whoever asks for one

# No deadline: TensorFlow's first call of a kind takes half a second, on a busy machine more; pytest-timeout watches.
hypothesis.settings.register_profile(
    "armchair", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("armchair")
