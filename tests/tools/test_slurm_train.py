"""The launch on a Slurm cluster, by a stand-in for srun that knows the job's number."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do shift; done
SLURM_JOB_ID=$JOB SLURM_STEP_ID=$STEP exec "$@"
"""
PYTHON = """#!/bin/sh
echo "$MASTER_PORT" "$@"
"""


@pytest.fixture
def launch(tmp_path):
    """Runs the script as a step of a job; the port and the arguments that its processes get."""
    for name, text in (('srun', SRUN), ('python', PYTHON)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def launch(job: int, step: int = 0, **variables: str) -> tuple[int, str]:
        environment = os.environ | variables | dict(
            PATH=f'{tmp_path}:{os.environ["PATH"]}', PYTHON='python', JOB=str(job), STEP=str(step),
            SLURM_JOB_ID='1', SLURM_STEP_ID='0', MASTER_PORT='1',
        )  # fmt: skip
        script = [ROOT / 'tools/slurm_train.sh', 'gpu', 'name', 'a.py', 'work dir', '--amp']
        result = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
        port, _, arguments = result.stdout.strip().partition(' ')
        return int(port), arguments

    return launch


def test_slurm_train_jobs_and_steps_have_own_ports(launch):
    steps = [(job, step) for job in (41, 42, 987_654_321) for step in range(3)]
    ports = [launch(*step)[0] for step in steps]
    assert len({*ports}) == len(steps)
    assert all(20000 <= port < 32000 for port in ports)
    assert ports[0] == launch(41)[0]  # in every process of a step


def test_slurm_train_given_port_is_used(launch):
    assert launch(41, PORT='29501')[0] == 29501


def test_slurm_train_passes_arguments(launch):
    _, arguments = launch(41)
    expected = f'-u {ROOT}/tools/train.py a.py --work-dir work dir --launcher slurm --amp'
    assert arguments == expected
