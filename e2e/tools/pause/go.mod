module sequencer.test/pause

go 1.26.0
