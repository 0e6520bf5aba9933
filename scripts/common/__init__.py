"""What benchmarks, the GPU check, studies and analyses share: charts, tables, circumstances."""
