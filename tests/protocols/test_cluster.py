"""What --cluster may say, jobs in this process and on dask's workers, and settings of batch systems; no further process is started."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols import cluster_jobs, cluster_start
from protocols.cluster import check_cluster, open_workers, parse_cluster
from protocols.cluster_jobs import DaskWorkers
from protocols.errors import InputError
from protocols.job_queue import NO_DASHBOARD, JobQueue
from tests.protocols.cluster_jobs import divide_by, nap, refuse_three, say_where, square

SLURM = """
kind = "slurm"
jobs = 20
cores = 4
memory = "32 GB"
queue = "gpu"
account = "vision"
walltime = "12:00:00"
job_script_prologue = ["module load cuda"]
job_extra_directives = ["--gres=gpu:1"]
job_directives_skip = ["--mem"]
"""
OWN = {
    "slurm": ('queue = "gpu"\naccount = "vision"\nwalltime = "12:00:00"', ("#SBATCH -p gpu", "#SBATCH -A vision", "#SBATCH -t 12:00:00")),
    "pbs": ('queue = "q"\naccount = "vision"\nresource_spec = "ncpus=2"', ("#PBS -q q", "#PBS -A vision", "#PBS -l ncpus=2")),
    "sge": ('queue = "q"\naccount = "vision"\nwalltime = "1:0:0"', ("#$ -q q", "#$ -P vision", "#$ -l h_rt=1:0:0")),
    "lsf": ('queue = "q"\naccount = "vision"\nwalltime = "01:00"', ("#BSUB -q q", '#BSUB -P "vision"', "#BSUB -W 01:00")),
    "htcondor": ('disk = "4 GB"\njob_extra_directives = ["accounting_group = vision"]', ("accounting_group = vision", "RequestDisk")),
}


def write_queue(folder: Path, text: str) -> str:
    path = folder / "queue.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def on_dask() -> Iterator[DaskWorkers]:
    """Two workers of dask, as threads of this process."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, scheduler_kwargs=NO_DASHBOARD) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield DaskWorkers(client, patience_s=60)


def test_without_a_cluster_this_process_does_the_jobs_in_order() -> None:
    with open_workers(None) as workers:
        assert list(workers.run(square, [3, 1, 2])) == [(0, 9), (1, 1), (2, 4)]
        assert list(workers.run(say_where, [0])) == [(0, (os.getpid(), os.getcwd()))]
        assert list(workers.run(square, [])) == []


def test_without_a_cluster_dask_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dask", "distributed", "dask_jobqueue"):
        monkeypatch.setitem(sys.modules, name, None)
    with open_workers(None) as workers:
        assert dict(workers.run(square, [5])) == {0: 25}


@pytest.mark.parametrize("cluster", ["local:2", "tcp://127.0.0.1:9"])
def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, cluster: str) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r'distributed is not installed; pip install "voxdrive\[cluster\]"'), open_workers(cluster):
        pass


def test_without_dask_jobqueue_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with (
        pytest.raises(InputError, match=r'dask_jobqueue is not installed; pip install "voxdrive'),
        open_workers(write_queue(tmp_path, SLURM)),
    ):
        pass


def test_what_can_be_known_beforehand_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    queue = write_queue(tmp_path, SLURM)
    for cluster in (None, "local:2", "tcp://127.0.0.1:9", queue):
        check_cluster(cluster)
    with pytest.raises(InputError, match="is neither local:N"):
        check_cluster("slurm")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    check_cluster("local:2")
    with pytest.raises(InputError, match="dask_jobqueue is not installed"):
        check_cluster(queue)


def test_the_three_kinds_of_cluster_are_told_apart(tmp_path: Path) -> None:
    assert parse_cluster("local:12") == 12
    assert parse_cluster("tcp://10.0.0.1:8786") == "tcp://10.0.0.1:8786"
    queue = parse_cluster(write_queue(tmp_path, SLURM))
    assert isinstance(queue, JobQueue)
    assert (queue.kind, queue.jobs, queue.wait_minutes) == ("slurm", 20, 1440)


@pytest.mark.parametrize("cluster", ["local", "local:0", "local:-1", "local:two", "tcp://", "tcp://host", "slurm", "", "4"])
def test_anything_else_is_refused(cluster: str) -> None:
    with pytest.raises(InputError, match="is neither local:N"), open_workers(cluster):
        pass


def test_a_file_that_is_missing_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: no such file"), open_workers("nowhere.toml"):
        pass


def test_a_scheduler_that_cannot_be_reached_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_start, "_CONNECT_S", 0.3)
    with pytest.raises(InputError, match=r"tcp://127\.0\.0\.1:9: no dask scheduler answers"), open_workers("tcp://127.0.0.1:9"):
        pass


def test_each_job_comes_back_once(on_dask: DaskWorkers) -> None:
    assert sorted(on_dask.run(square, range(30))) == [(number, number * number) for number in range(30)]
    assert list(on_dask.run(square, [])) == []


def test_results_come_as_jobs_finish(on_dask: DaskWorkers) -> None:
    assert [index for index, _ in on_dask.run(nap, [0.5, 0.01])] == [1, 0]


def test_few_jobs_are_on_their_way_at_a_time(on_dask: DaskWorkers) -> None:
    started = on_dask.run(square, range(20_000))
    next(started)
    assert len(on_dask.client.futures) <= 4
    started.close()


def test_what_a_job_refuses_and_what_it_breaks_on_come_back_as_they_are(on_dask: DaskWorkers) -> None:
    with pytest.raises(InputError, match=r"^three\.tsv row 3: is three; give another number$"):
        list(on_dask.run(refuse_three, range(5)))
    with pytest.raises(ZeroDivisionError):
        list(on_dask.run(divide_by, [0]))
    assert dict(on_dask.run(square, [4])) == {0: 16}  # and the workers go on


def test_jobs_are_done_in_the_folder_of_the_command(on_dask: DaskWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [folder for _, (_, folder) in on_dask.run(say_where, [0])] == [str(tmp_path)]


def test_a_worker_that_does_not_see_the_folder_is_refused(on_dask: DaskWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getcwd", lambda: "/nowhere/at/all")
    with pytest.raises(InputError, match=r"worker .*: does not see /nowhere/at/all; give the command, with its data, in folders"):
        list(on_dask.run(square, [1]))


def test_a_worker_with_other_code_is_refused(on_dask: DaskWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_jobs, "describe_code", lambda: "9.9.9")
    monkeypatch.setattr(cluster_jobs, "_own_code", lambda: "0.0.1")
    with pytest.raises(InputError, match=r"worker .*: has voxdrive 0\.0\.1, this is 9\.9\.9; install the same there"):
        list(on_dask.run(square, [1]))


def test_a_worker_that_does_several_jobs_at_a_time_is_refused() -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=3, processes=False, scheduler_kwargs=NO_DASHBOARD) as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(InputError, match=r"worker .*: does 3 jobs at a time; start workers with --nthreads 1"),
    ):
        list(DaskWorkers(client, patience_s=60).run(square, [1]))


def test_a_cluster_without_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import Client, LocalCluster

    monkeypatch.setattr(cluster_jobs, "_LOOK_S", 0.1)
    monkeypatch.setattr(cluster_start, "_PATIENCE_S", 0.2)
    with (
        LocalCluster(n_workers=0, processes=False, protocol="tcp://", scheduler_kwargs=NO_DASHBOARD) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        with pytest.raises(InputError, match=r"the cluster has had no worker for 0 s; start some, and give the command again"):
            list(DaskWorkers(client, patience_s=0.2).run(square, [1]))
        address = cluster.scheduler_address
        with pytest.raises(InputError, match=f"{address}: has no workers; start some with dask worker {address}"), open_workers(address):
            pass


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (('queue = "gpu"', 'quue = "gpu"'), "unknown key 'quue'; did you mean 'queue'?"),
        (('kind = "slurm"', 'kind = "lsff"'), "key 'kind' is 'lsff'"),
        (("jobs = 20\n", ""), "key 'jobs' is missing"),
        (("jobs = 20", "jobs = 0"), "key 'jobs' is 0"),
        (('"32 GB"', '"much"'), "key 'memory' is 'much'"),
        (("cores = 4", "cores = 4\nprocesses = 8"), "8 processes on 4 cores"),
        (("cores = 4", 'cores = 4\ndisk = "1 GB"'), "'disk' is nothing that slurm knows"),
        (('kind = "slurm"', 'kind = "htcondor"'), "'account' is nothing that htcondor knows"),
    ],
)
def test_settings_of_a_queue_that_cannot_be_used_are_refused(tmp_path: Path, spoil: tuple[str, str], message: str) -> None:
    path = write_queue(tmp_path, SLURM.replace(*spoil))
    with pytest.raises(InputError) as refused, open_workers(path):
        pass
    assert message in str(refused.value)
    assert path in str(refused.value)


@pytest.mark.parametrize("lines", ["", 'disk = "4 GB"\njob_extra_directives = ["gpus"]'])
def test_what_htcondor_needs_is_told(tmp_path: Path, lines: str) -> None:
    path = write_queue(tmp_path, f'kind = "htcondor"\njobs = 1\nmemory = "1 GB"\n{lines}')
    with pytest.raises(InputError, match=r"htcondor needs disk|is not of the form 'key = value'"):
        JobQueue.read(Path(path))


def write_script(path: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the script that dask-jobqueue would submit."""
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/there")
    with cluster_start.make_queue(JobQueue.read(Path(path))) as cluster:
        return cluster.job_script()


def test_the_script_of_a_job_holds_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = write_script(write_queue(tmp_path, SLURM), monkeypatch)
    for line in ("-p gpu", "-A vision", "-t 12:00:00", "--cpus-per-task=4", "--gres=gpu:1"):
        assert f"#SBATCH {line}\n" in script
    assert "#SBATCH --mem" not in script
    assert "\nmodule load cuda\n" in script
    started = script.splitlines()[-1]
    assert started.startswith(f"{sys.executable} -m distributed.cli.dask_worker tcp://")
    assert "--nworkers 4 " in started
    assert started.endswith(" --nthreads 1")


@pytest.mark.parametrize("kind", OWN)
def test_each_kind_of_queue_gets_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    lines, expected = OWN[kind]
    path = write_queue(tmp_path, f'kind = "{kind}"\njobs = 2\ncores = 2\nprocesses = 1\nmemory = "2 GB"\n{lines}\n')
    script = write_script(path, monkeypatch)
    assert [one for one in expected if one not in script] == []
    assert "--nworkers" not in script
    assert "--nthreads 1" in script


def test_a_computer_that_cannot_submit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(InputError, match="slurm: there is no sbatch here; give the command where jobs can be submitted"):
        cluster_start.make_queue(JobQueue.read(Path(write_queue(tmp_path, SLURM))))
