"""A Slurm of one node with its own folders, ports and key, and what its administrator can do."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from helpers import wait_for

DAEMONS = ("munged", "mungekey", "slurmctld", "slurmd")
CPUS = 4
"""As Slurm counts them; jobs of tests need not wait for each other."""
SETTLED = 4
"""Seconds without a word of the daemon; messages to it are sent again after one."""
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
MaxArraySize=4
ReturnToService=2
SlurmdTimeout=30
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=5
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2
"""


class Cluster:
    """Daemons of a Slurm without accounting, and what its administrator can do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir(mode=0o700)
        ports = dict(zip(("controller_port", "node_port"), _free_ports(2), strict=True))
        self.host = socket.gethostname().partition(".")[0]
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(
            CONFIGURATION.format(folder=folder, host=self.host, cpus=CPUS, **ports)
        )

    def start(self) -> None:
        munge = self.folder / "munge"
        places = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={munge / name}" for option, name in places.items()]
        _run("mungekey", "--create", f"--keyfile={munge / 'key'}")
        _run("munged", "--force", f"--key-file={munge / 'key'}", *options)
        _run("slurmctld", "-c")
        _run("slurmd")
        self.wait_for("the node", lambda: self._node_state() == "idle")

    def stop(self) -> None:
        ask("scancel", "--user=root")
        self.wait_for("the jobs to end", lambda: not ask("squeue", "-h"))
        for pid_file in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            process = psutil.Process(int((self.folder / pid_file).read_text()))
            process.terminate()
            process.wait(30)

    def lose_power(self) -> None:
        """Kill everything on the node at once, tell Slurm that it is down, and start it again."""
        daemon = psutil.Process(int((self.folder / "slurmd.pid").read_text()))
        daemon.suspend()  # none sees another one end
        steps = [p for p in psutil.process_iter() if self._is_step(p)]
        for process in steps:
            process.suspend()
        below = [child for step in steps for child in step.children(recursive=True)]
        for process in (daemon, *steps, *below):
            with contextlib.suppress(psutil.NoSuchProcess):  # a child has just ended
                process.kill()
        psutil.wait_procs([daemon, *steps, *below], timeout=10)
        _run("slurmd")
        node = f"nodename={self.host}"
        ask("scontrol", "update", node, "state=down", "reason=power")  # or after SlurmdTimeout
        log = self.folder / "slurmd.log"

        def settled() -> bool:
            """Tell when the daemon no longer ends jobs and removes scripts of before."""
            ask("scontrol", "update", node, "state=resume")
            back = self._node_state() in ("idle", "mix", "alloc")
            return back and time.time() - log.stat().st_mtime > SETTLED

        self.wait_for("the node to come back", settled)

    def preempt(self) -> None:
        """Let a job of a partition with priority take the whole node for a moment."""
        ask("sbatch", "--partition=urgent", f"--ntasks={CPUS}", "--output=/dev/null", "--wrap=true")

    def start_now(self, job: str) -> None:
        """Start a job that was queued again, which Slurm delays by two minutes."""

        def started() -> bool:
            time.sleep(0.5)
            # Again and again: while the job still ends, its start is set anew; and one that is
            # started while the node still cleans up after it fails to, and is held.
            ask("scontrol", "update", f"job={job}", "StartTime=now")
            ask("scontrol", "release", job)
            return state(job) == "RUNNING"

        self.wait_for(f"job {job} to be queued again", lambda: state(job) == "PENDING")
        # The node refuses a job of which a start and the stop before it are of one second.
        time.sleep(2)
        self.wait_for(f"job {job} to start again", started)

    def wait_for(self, what: str, condition: Callable[[], object], seconds: float = 240) -> None:
        """Wait, and add what Slurm says of its jobs and of the node to an error."""
        try:
            wait_for(what, condition, seconds)
        except AssertionError as error:
            for command in ("squeue --array", "scontrol show job", "scontrol show node"):
                error.add_note(f"{command}:\n{ask(*command.split())}")
            for name in ("slurmctld.log", "slurmd.log"):
                error.add_note(f"{name}:\n{(self.folder / name).read_text()[-8000:]}")
            raise

    def _node_state(self) -> str:
        """Return ``idle``, ``mix`` (partly busy), ``down`` ...; with ``*``: it does not answer."""
        return ask("sinfo", "--noheader", "--partition=main", "--format=%t").strip()

    def _is_step(self, process: psutil.Process) -> bool:
        """Tell whether a process keeps a step of a job of this Slurm: by its socket."""
        try:
            if process.name() != "slurmstepd":
                return False
            sockets = process.net_connections("unix")
        except psutil.Error:  # it has just ended
            return False
        return any(str(self.folder) in socket.laddr for socket in sockets)


def ask(command: str, *arguments: str) -> str:
    """Return what a command of Slurm prints."""
    return subprocess.run(
        [command, *arguments], capture_output=True, text=True, check=False, timeout=60
    ).stdout


def state(job: str) -> str:
    """Return the state of a job, empty if it is not in the queue."""
    return ask("squeue", "--array", "--noheader", f"--jobs={job}", "--format=%T").strip()


def _run(*command: str) -> None:
    # Daemons keep standard output open, so it is no pipe to wait for.
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=60)
    time.sleep(0.1)


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
