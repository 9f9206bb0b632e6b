module github.com/berth-oci/berth

go 1.26.0
