package main

import (
	"fmt"
	"time"
)

// How long things take that are not measured for a time, about, on a machine of
// today. They are for a forecast alone.
const (
	startTakes  = 300 * time.Millisecond
	pushTakes   = 1500 * time.Millisecond // as many small pushes as a round has
	settleTakes = 100 * time.Millisecond  // what a slice costs beside its work
	diskRate    = 300 << 20               // bytes a second, written and synced
	networkRate = 1500 << 20              // bytes a second, of loopback
	indexRate   = 4500                    // images a second, written into an index
	filesRate   = 1500                    // images a second, written as files
	rebuildRate = 2500                    // images a second, read into an index
	answerRate  = 80 << 20                // bytes a second of an answer with everything
	answerBytes = 1100                    // of an image, in both forms together
	memoryTakes = 10 * time.Second
	besideTakes = 3 * time.Second
)

// peered is how many servers take part, those of files included or not.
func (b *bench) peered(static bool) (n int) {
	for _, p := range b.programs {
		if static || !p.Static {
			n++
		}
	}
	return n
}

// pushing is how long a round of small pushes takes.
func (b *bench) pushing() time.Duration { return time.Duration(b.count * float64(pushTakes)) }

func seconds(amount, rate float64) time.Duration {
	return time.Duration(amount / rate * float64(time.Second))
}

func takesSyncs(b *bench) time.Duration { return time.Duration(b.peered(false)) * time.Second }

func takesPush(b *bench) (all time.Duration) {
	turns := time.Duration(b.rounds * b.peered(false))
	for _, scheme := range b.schemes {
		all += turns * b.pushing()
		for _, connections := range b.connectionsOver(scheme) {
			all += 3 * turns * b.pushing()
			for _, size := range b.sizes {
				if size*int64(connections) <= mostPerRound {
					all += turns * (settleTakes + seconds(max(b.count*perRound, float64(size)*float64(connections)), diskRate))
				}
			}
		}
	}
	return all
}

func takesPull(b *bench) (all time.Duration) {
	turns := time.Duration(b.rounds * b.peered(true))
	for _, scheme := range b.schemes {
		for _, connections := range b.connectionsOver(scheme) {
			all += 3 * turns * (b.time + settleTakes)
			for _, size := range b.sizes {
				if bytes := float64(size) * float64(connections); bytes <= mostPulled {
					all += turns * (max(b.time, seconds(bytes, networkRate)) + settleTakes)
				}
			}
		}
	}
	return all
}

func takesBeside(b *bench) time.Duration {
	return time.Duration(3*b.rounds*b.peered(false)) * max(b.pushing(), time.Second) * 2
}

func takesCollect(b *bench) time.Duration { return time.Duration(b.rounds) * 8 * time.Second }

func takesMemory(b *bench) time.Duration {
	return time.Duration(min(b.rounds, 2)*b.peered(false)) * memoryTakes
}

func takesQuery(b *bench) (all time.Duration) {
	rounds := time.Duration(b.rounds)
	for _, images := range b.images {
		all += seconds(float64(images), indexRate) + 3*startTakes + rounds*b.pushing()
		for _, q := range questions {
			if q.found >= 0 {
				all += rounds * time.Duration(len(b.connectionsOfQueries())) * (b.time + settleTakes)
			}
		}
		everything := seconds(float64(images)*answerBytes, answerRate)
		all += 3 * everything / 2 // asked once, to see that the answer is right
		all += rounds * max(2*b.time, everything)
	}
	return all
}

func takesAccounts(b *bench) time.Duration {
	return time.Duration(2*max(b.rounds, accountRounds)) * (2*(b.time+accountSlices*settleTakes) + b.pushing())
}

func takesStart(b *bench) time.Duration {
	images := float64(min(b.images[len(b.images)-1], mostFiles))
	return seconds(images, filesRate) + time.Duration(min(b.rounds, 3))*(seconds(images, rebuildRate)+3*startTakes)
}

// forecast says how long the groups from one on take, about.
func (b *bench) forecast(from int) (all time.Duration) {
	for _, g := range groups[from:] {
		if b.wants(g.name) {
			all += g.takes(b)
		}
	}
	return all
}

// about is a time as a forecast has it.
func about(d time.Duration) string {
	if d < 100*time.Second {
		return fmt.Sprintf("%.0f seconds", d.Seconds())
	}
	return fmt.Sprintf("%.0f minutes", d.Minutes())
}
