"""The sections of the check, the most important ones first."""

from scripts.gpu_check.agreement import run_cpu_labels, run_golden, run_training_golden
from scripts.gpu_check.processes import run_resuming, run_two_processes
from scripts.gpu_check.report import Section
from scripts.gpu_check.speed import run_reading, run_systems, run_training

SECTIONS: dict[str, Section] = {
    "golden": Section("Published numbers: evaluation", run_golden, 10),
    "training_golden": Section("Published numbers: training", run_training_golden, 10),
    "labels": Section("Labels compared with the CPU's", run_cpu_labels, 20),
    "systems": Section("Systems: speed and memory", run_systems, 40),
    "reading": Section("Reading the memory", run_reading, 15),
    "training": Section("Training: speed and memory", run_training, 45),
    "two_processes": Section("Two processes on one device", run_two_processes, 30),
    "resuming": Section("Training resumed", run_resuming, 30),
}
