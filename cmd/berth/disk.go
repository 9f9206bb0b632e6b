package main

import (
	"os"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-oci/berth/config"
)

// measure registers gauges of what berth takes of the machine, and of whether
// what it was told is in force.
func (b *berth) measure(c *config.Config, metrics *prometheus.Registry) {
	metrics.MustRegister(
		diskCollector{
			folders: b.home.folders[:min(len(b.home.folders), len(folderNames))],
			free:    prometheus.NewDesc("berth_disk_free_bytes", "Bytes that berth can still write on the disk of a folder.", []string{"folder"}, nil),
			size:    prometheus.NewDesc("berth_disk_size_bytes", "Size of the disk of a folder.", []string{"folder"}, nil),
		},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "berth_index_size_bytes", Help: "Size of the index's file.",
		}, func() float64 {
			info, err := os.Stat(c.Catalog.Path)
			if err != nil {
				return 0
			}
			return float64(info.Size())
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "berth_accounts_file_bad", Help: "1 while the accounts file cannot be used and what was in force before still is; the log says why.",
		}, func() float64 {
			if b.accounts.Problem() != nil {
				return 1
			}
			return 0
		}),
	)
}

// folderNames are the folders of a home in metrics, in its order.
var folderNames = []string{"data", "storage"}

type diskCollector struct {
	folders    []*os.File
	free, size *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (d diskCollector) Describe(ch chan<- *prometheus.Desc) { ch <- d.free; ch <- d.size }

// Collect implements prometheus.Collector. What cannot be found out is left out.
func (d diskCollector) Collect(ch chan<- prometheus.Metric) {
	for i, f := range d.folders {
		free, size, err := disk(f)
		if err != nil {
			continue
		}
		ch <- prometheus.MustNewConstMetric(d.free, prometheus.GaugeValue, float64(free), folderNames[i])
		ch <- prometheus.MustNewConstMetric(d.size, prometheus.GaugeValue, float64(size), folderNames[i])
	}
}
