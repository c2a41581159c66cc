package wasm

import "github.com/edgewasm/wasmedge/host/engine"

// funcFacts is what scan finds out about one defined function.
type funcFacts struct {
	start    int // offset of the body in the code section
	body     int // of the code, behind the local declarations
	end      int
	first, n int // its events
	locals   uint32
	cost     uint32           // of what is in no loop
	entry    uint32           // weight of the check at its entry; 0 means none
	indirect bool             // calls by table or reference
	cyclic   bool             // the target of a call that closes a cycle
	length   bool             // needs a local for lengths
	chunked  bool             // needs a local for what is left of a chunk
	ref      engine.ValueType // needs a local for a reference of this type, unless 0
	state    visit
}

// Indices of the locals that are added: a length, a reference, what is left of a chunk.
func (f *funcFacts) lengthLocal() uint32 { return f.locals }

func (f *funcFacts) refLocal() uint32 { return f.locals + 1 }

func (f *funcFacts) chunkLocal() uint32 {
	n := f.locals
	if f.length {
		n++
	}
	if f.ref != 0 {
		n++
	}
	return n
}

type visit byte

const (
	unseen visit = iota
	open         // on the path that is being walked
	done
)

// eventKind is a place in the code where something changes.
type eventKind byte

const (
	eventCall       eventKind = iota // call, return_call: the index shifts
	eventRef                         // ref.func: likewise
	eventLoop                        // a loop: check behind it
	eventLoopEnd                     // and its end
	eventBranch                      // an instruction with labels: they shift when loops around it get more blocks
	eventBulk                        // charge by length, then check, before it
	eventGrowTable                   // table.grow: ask the host before
	eventGrowMemory                  // memory.grow: likewise
)

type event struct {
	kind  eventKind
	shift uint8 // eventBulk: length to units
	// eventLoop: it calls nothing, not even in loops inside, so that a check of its own form is worth it.
	tight  bool
	around bool   // eventLoop: there are loops inside
	copies uint8  // eventLoop: how often the body of a tight loop is written
	pos    int    // offset in the code section of the instruction
	end    int    // and behind it
	index  uint32 // function or table; eventLoopEnd: event of the loop; eventBranch: first of its targets
	owner  int32  // event of the innermost loop around it; -1 for none
	weight uint32 // eventLoop: cost of its body while scanning, then the weight of the check
	depth  uint32 // eventLoop: how many tight loops there are from it outwards
}

// scan decodes all code.
func (x *interrupter) scan() error {
	s, ok := x.m.Section(SectionCode)
	if !ok {
		return nil
	}
	r := &reader{b: s.Body, base: s.Offset, section: "code", types: len(x.m.Types)}
	n := r.count(2, "function bodies")
	x.funcs = make([]funcFacts, n)
	var ctl []frame
	for i := range x.funcs {
		size := int(r.u32("the size of a function body"))
		start := r.pos
		r.bytes(size, "a function body")
		if r.err != nil {
			return r.err
		}
		// The body is read through a reader of its own: it ends where its size says.
		f := &reader{b: s.Body[:r.pos], pos: start, base: s.Offset, section: "code", types: len(x.m.Types)}
		ctl = x.scanBody(f, &x.funcs[i], x.m.Types[x.m.Funcs[i]], ctl[:0])
		if err := f.done(); err != nil {
			return err
		}
	}
	return r.done()
}

// frame is an open block.
type frame struct {
	loop    int32 // event of the innermost loop, this one included; -1 for none
	is      bool  // it is that loop
	carries bool  // a branch to it carries values
}

// target is what a label stands for.
type target struct {
	loop    int32 // event of the innermost loop at the target, or -1
	carries bool
}

// scanBody decodes one function. ctl is reused.
func (x *interrupter) scanBody(r *reader, f *funcFacts, typ engine.FuncType, ctl []frame) []frame {
	m := x.m
	f.start = r.pos
	locals := uint64(len(typ.Params))
	for n := r.count(2, "local declarations"); n > 0 && r.err == nil; n-- {
		at := r.pos
		locals += uint64(r.u32("a number of locals"))
		r.valueType("a local's type")
		if r.err == nil && locals > maxLocals {
			r.fail(at, ErrUnsupported, "the function has more than %d locals", maxLocals)
		}
	}
	f.locals, f.body, f.first = uint32(locals), r.pos, len(x.events)
	label := func(depth uint32) {
		if uint64(depth) >= uint64(len(ctl)) {
			r.fail(r.pos, ErrMalformed, "expected a label below %d, found %d", len(ctl), depth)
			return
		}
		to := ctl[len(ctl)-1-int(depth)]
		x.targets = append(x.targets, target{to.loop, to.carries})
	}
	loop := int32(-1)
	ctl = append(ctl, frame{loop: loop, carries: len(typ.Results) > 0})
	charge := func(c uint32) {
		p := &f.cost
		if loop >= 0 {
			p = &x.events[loop].weight
		}
		*p = min(*p+c, 1<<28)
	}
	record := func(e event) {
		e.end, e.owner = r.pos, loop
		x.events = append(x.events, e)
	}
	calls := func() { // the innermost loop is not tight; those around it hear of it at its end
		if loop >= 0 {
			x.events[loop].tight = false
		}
	}
	var in instr
	for r.err == nil {
		targets := len(x.targets)
		r.next(&in, label)
		if r.err != nil {
			break
		}
		if len(x.targets) > targets {
			if loop >= 0 {
				record(event{kind: eventBranch, pos: in.start, index: uint32(targets)})
			} else {
				x.targets = x.targets[:targets]
			}
		}
		cost := uint32(1)
		switch in.op {
		case opBlock, opIf, opTryTable, opLoop:
			if in.block >= 0 && !m.IsFunc(uint32(min(in.block, 1<<32-1))) {
				r.fail(in.start, ErrMalformed, "expected a block type, found type %d, the module has %d", in.block, len(m.Types))
				break
			}
			switch in.op {
			case opLoop:
				// A loop with parameters cannot be left and entered again without them.
				record(event{kind: eventLoop, pos: in.start, tight: in.block < 0 || len(m.Types[in.block].Params) == 0})
				loop = int32(len(x.events) - 1)
			case opTryTable:
				cost = costTryTable
				calls()
			}
			ctl = append(ctl, frame{loop, in.op == opLoop, m.labelCarries(&in)})
		case opEnd:
			cost = 0
			top := ctl[len(ctl)-1]
			ctl = ctl[:len(ctl)-1]
			if len(ctl) == 0 {
				f.end, f.n = r.pos, len(x.events)-f.first
				return ctl
			}
			if top.is {
				record(event{kind: eventLoopEnd, pos: in.start, index: uint32(loop)})
				inner := &x.events[loop]
				loop = ctl[len(ctl)-1].loop
				if loop >= 0 {
					x.events[loop].around = true
				}
				if inner.tight {
					f.chunked = true
				} else if loop >= 0 {
					x.events[loop].tight = false
				}
			}
		case 0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82, 0x91, 0x95, 0x9f, 0xa3:
			cost = costDivide
		case opCall, opReturnCall:
			m.checkIndex(r, in.start, in.index, m.NumFuncs(), "function")
			cost = costCall
			if in.index < x.imported {
				cost = costImport
			}
			calls()
			record(event{kind: eventCall, pos: in.start, index: in.index})
		case opCallIndirect, opReturnCallIndirect, opCallRef, opReturnCallRef:
			m.checkIndex(r, in.start, in.index, len(m.Types), "type")
			cost, f.indirect = costIndirect, true
			calls()
		case opRefFunc:
			m.checkIndex(r, in.start, in.index, m.NumFuncs(), "function")
			cost = costRefFunc
			calls()
			record(event{kind: eventRef, pos: in.start, index: in.index})
		case opLocalGet, opLocalSet, opLocalTee:
			m.checkIndex(r, in.start, in.index, int(f.locals), "local")
		case opGlobalGet, opGlobalSet:
			m.checkIndex(r, in.start, in.index, m.NumGlobals(), "global")
		case opMemoryGrow:
			cost = costGrow
			calls()
			if x.opt.Grow != "" {
				f.length = true
				record(event{kind: eventGrowMemory, pos: in.start})
			}
		case opPrefixMisc:
			cost = x.scanMisc(r, f, &in, record)
			if cost > 1 {
				calls()
			}
		}
		charge(cost)
	}
	return ctl
}

// labelCarries reports whether a branch to the label of a block carries values: a loop's parameters, or the
// results of any other.
func (m *Module) labelCarries(in *instr) bool {
	if in.block < 0 {
		return in.op != opLoop && in.block != blockEmpty
	}
	if in.op == opLoop {
		return len(m.Types[in.block].Params) > 0
	}
	return len(m.Types[in.block].Results) > 0
}

func (x *interrupter) scanMisc(r *reader, f *funcFacts, in *instr, record func(event)) uint32 {
	// A unit is worth about 64 bytes moved, or 8 table elements.
	const bytesShift, elementsShift = 6, 3
	e := event{kind: eventBulk, pos: in.start}
	switch in.sub {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill:
		e.shift = bytesShift
	case miscTableInit, miscTableCopy, miscTableFill:
		e.shift = elementsShift
	case miscTableGrow:
		x.m.checkIndex(r, in.start, in.index, x.m.NumTables(), "table")
		if x.opt.Grow == "" || r.err != nil {
			return costGrow
		}
		t := x.m.tableType(in.index)
		if t != engine.FuncRef && t != engine.ExternRef {
			r.fail(in.start, ErrUnsupported, "table.grow of a table whose elements are %s", t)
		}
		if f.ref != 0 && f.ref != t {
			r.fail(in.start, ErrUnsupported, "one function grows tables of %s and of %s", f.ref, t)
		}
		f.length, f.ref = true, t
		record(event{kind: eventGrowTable, pos: in.start, index: in.index})
		return costGrow
	default:
		return 1
	}
	f.length = true
	record(e)
	return costBulk
}

func (m *Module) tableType(index uint32) engine.ValueType {
	for i := range m.Imports {
		if m.Imports[i].Kind == engine.KindTable {
			if index == 0 {
				return m.Imports[i].Table.Elem
			}
			index--
		}
	}
	if int64(index) < int64(len(m.Tables)) {
		return m.Tables[index].Elem
	}
	return 0
}

// weigh decides where checks go and what they charge. Every cycle of execution must pass a check: those
// within a function pass a loop head; those of the call graph pass the entry of a function that is checked,
// because it closes a cycle of direct calls, calls indirectly, or has become too dear to go unchecked.
func (x *interrupter) weigh() {
	type step struct {
		f    int
		next int // event to look at
	}
	var path []step
	for root := range x.funcs {
		if x.funcs[root].state != unseen {
			continue
		}
		x.funcs[root].state = open
		path = append(path[:0], step{root, x.funcs[root].first})
	walk:
		for len(path) > 0 {
			top := &path[len(path)-1]
			f := &x.funcs[top.f]
			for top.next < f.first+f.n {
				e := &x.events[top.next]
				top.next++
				if e.kind != eventCall || e.index < x.imported {
					continue
				}
				callee := int(e.index - x.imported)
				switch c := &x.funcs[callee]; c.state {
				case unseen:
					c.state = open
					path = append(path, step{callee, c.first})
					continue walk
				case open:
					c.cyclic = true
				}
			}
			x.finish(f)
			path = path[:len(path)-1]
		}
	}
}

// finish adds what the callees of f do unchecked to the places that call them. All callees but those that
// are open, which are checked, are finished.
func (x *interrupter) finish(f *funcFacts) {
	for i := f.first; i < f.first+f.n; i++ {
		e := &x.events[i]
		if e.kind != eventCall || e.index < x.imported {
			continue
		}
		callee := &x.funcs[e.index-x.imported]
		if callee.state != done || callee.entry != 0 {
			continue
		}
		p := &f.cost
		if e.owner >= 0 {
			p = &x.events[e.owner].weight
		}
		*p = min(*p+callee.cost, 1<<28)
	}
	for i := f.first; i < f.first+f.n; i++ {
		if e := &x.events[i]; e.kind == eventLoop {
			e.copies = 1
			if e.tight && !e.around {
				e.copies = uint8(min(max(unrolled/max(e.weight, 1), 1), maxCopies))
			}
			e.weight = 1 + e.weight/costShare
			if e.owner >= 0 {
				e.depth = x.events[e.owner].depth
			}
			if e.tight {
				e.depth++
			}
		}
	}
	if f.chunked {
		f.cost += freeChunk * costShare
	}
	switch {
	case f.cyclic || f.indirect:
		// What is on the stack counts too: a check bounds how deep it has become since the last.
		f.entry = 1 + (f.cost+costRecursion+4*f.locals)/costShare
	case f.cost > costUnchecked:
		f.entry = 1 + f.cost/costShare
	}
	f.state = done
}

func (x *interrupter) code(s Section, ok bool) ([]byte, error) {
	b := make([]byte, 0, len(s.Body)+len(s.Body)/4+64)
	b = AppendU32(b, uint32(len(x.funcs)+2))
	var body []byte
	add := func(body []byte) {
		b = append(AppendU32(b, uint32(len(body))), body...)
	}
	for i := range x.funcs {
		body = x.emitBody(body[:0], s.Body, &x.funcs[i])
		add(body)
	}
	// tick: counter = interrupt()
	body = AppendU32(append(body[:0], 0, opCall), x.interruptFunc())
	body = AppendU32(append(body, opGlobalSet), x.counter)
	add(append(body, opEnd))
	// refill: charges its argument and gives it
	body = AppendU32(append(body[:0], 0, opGlobalGet), x.counter)
	body = append(body, opLocalGet, 0, opI32Sub)
	body = x.test(body)
	add(append(body, opLocalGet, 0, opEnd))
	return b, nil
}

// emitBody writes one function.
func (x *interrupter) emitBody(b, code []byte, f *funcFacts) []byte {
	r := &reader{b: code[f.start:f.body]}
	n := r.u32("a count") // was decoded before
	var extra []byte
	for _, l := range []struct {
		needed bool
		typ    engine.ValueType
	}{{f.length, engine.I32}, {f.ref != 0, f.ref}, {f.chunked, engine.I32}} {
		if l.needed {
			extra = append(extra, 1, byte(l.typ))
			n++
		}
	}
	b = append(append(AppendU32(b, n), r.b[r.pos:]...), extra...)
	if f.entry != 0 {
		b = x.check(b, f.entry)
	}
	if f.chunked {
		b = append(b, opI32Const, freeChunk, opLocalSet)
		b = AppendU32(b, f.chunkLocal())
	}
	pos := f.body
	for k := f.first; k < f.first+f.n; k++ {
		e := &x.events[k]
		b = append(b, code[pos:e.pos]...)
		pos = e.end
		instruction := code[e.pos:e.end]
		switch e.kind {
		case eventCall, eventRef:
			b = AppendU32(append(b, instruction[0]), x.shift(e.index))
		case eventLoop:
			if e.tight {
				b = x.tightLoop(b, f, e, instruction)
				for range e.copies - 1 {
					b = x.copyBody(b, code, k)
				}
			} else {
				b = x.check(append(b, instruction...), e.weight)
			}
		case eventLoopEnd:
			if loop := &x.events[e.index]; loop.tight {
				b = x.tightLoopEnd(b, f, loop)
			} else {
				b = append(b, opEnd)
			}
		case eventBranch:
			b = x.branch(b, e, instruction, 0)
		case eventBulk:
			b = AppendU32(append(b, opLocalTee), f.lengthLocal())
			b = x.chargeLength(b, f.lengthLocal(), e.shift)
			b = append(b, instruction...)
		case eventGrowTable:
			b = x.askGrowTable(b, f, instruction, e.index)
		case eventGrowMemory:
			b = x.askGrowMemory(b, f, instruction)
		}
	}
	return append(b, code[pos:f.end]...)
}

// check charges a constant and calls the host when the budget is used up.
func (x *interrupter) check(b []byte, weight uint32) []byte {
	b = AppendU32(append(b, opGlobalGet), x.counter)
	b = AppendS64(append(b, opI32Const), int64(weight))
	b = append(b, opI32Sub)
	return x.test(b)
}

// chargeLength charges the number in a local, shifted right. The local's value is on the stack and stays.
func (x *interrupter) chargeLength(b []byte, local uint32, shift uint8) []byte {
	b = AppendU32(append(b, opGlobalGet), x.counter)
	b = AppendU32(append(b, opLocalGet), local)
	b = append(b, opI32Const, shift, opI32ShrU, opI32Sub)
	return x.test(b)
}

// test stores the new count from the stack and calls the host when it is below zero.
func (x *interrupter) test(b []byte) []byte {
	b = AppendU32(append(b, opGlobalSet), x.counter)
	b = AppendU32(append(b, opGlobalGet), x.counter)
	b = append(b, opI32Const, 0, opI32LtS, opIf, blockEmpty&0x7f, opCall)
	return append(AppendU32(b, x.tick), opEnd)
}

// How far the bodies of small tight loops are repeated.
const (
	unrolled  = 64 // instructions
	maxCopies = 8
)

// Chunks of the budget that a function takes for its tight loops, in the counter's units.
const (
	freeChunk = 8 // not charged to the counter but to the function's own cost: for loops of few turns
	minChunk  = 256
)

// A tight loop counts in a local, which the compiler can keep in a register, and takes chunks of the budget.
// The call that this needs stands outside of the loop, for a call inside would cost the loop its registers:
//
//	block (result t)
//	  loop
//	    block
//	      loop (result t)
//	        left -= weight; if left < 0 leave the inner block
//	        body
//	      end
//	      leave the outer block
//	    end
//	    left = refill(chunk); again
//	  end
//	  unreachable
//	end
//
// The body of a loop of few instructions is repeated, with a single check for all copies. Each but the last stands
// in a block that takes the loop's place as a label, so that to go on is to leave it for the next copy:
//
//	block
//	  body
//	  leave the outer block
//	end
const tightBlocks = 3 // that enclose the loop

func (x *interrupter) tightLoop(b []byte, f *funcFacts, e *event, instruction []byte) []byte {
	blockType := instruction[1:]
	b = append(append(b, opBlock), blockType...)
	b = append(b, opLoop, blockEmpty&0x7f, opBlock, blockEmpty&0x7f)
	b = append(b, instruction...)
	b = AppendU32(append(b, opLocalGet), f.chunkLocal())
	b = AppendS64(append(b, opI32Const), int64(e.weight*uint32(e.copies)))
	b = AppendU32(append(b, opI32Sub, opLocalTee), f.chunkLocal())
	return append(b, opI32Const, 0, opI32LtS, opBrIf, 1)
}

func (x *interrupter) tightLoopEnd(b []byte, f *funcFacts, loop *event) []byte {
	b = append(b, opEnd, opBr, 2, opEnd)
	// A chunk must suffice for a turn, or the loop would never get to its first.
	b = AppendS64(append(b, opI32Const), int64(max(minChunk, 4*loop.weight*uint32(loop.copies))))
	b = AppendU32(append(b, opCall), x.tick+1)
	b = AppendU32(append(b, opLocalSet), f.chunkLocal())
	return append(b, opBr, 0, opEnd, opUnreachable, opEnd)
}

// copyBody writes a copy of the body of the tight loop at event k, in which there are branches only.
func (x *interrupter) copyBody(b, code []byte, k int) []byte {
	b = append(b, opBlock, blockEmpty&0x7f)
	pos := x.events[k].end
	for k++; ; k++ {
		e := &x.events[k]
		b = append(b, code[pos:e.pos]...)
		pos = e.end
		if e.kind == eventLoopEnd {
			return append(b, opBr, 4, opEnd)
		}
		b = x.branch(b, e, code[e.pos:e.end], 1)
	}
}

// branch copies an instruction with labels; each label that leaves tight loops must leave their blocks too, and
// the blocks that are more around the innermost.
func (x *interrupter) branch(b []byte, e *event, instruction []byte, more uint32) []byte {
	r := &reader{b: instruction} // was decoded before
	next := x.targets[e.index:]
	copied := 0
	var in instr
	r.next(&in, func(depth uint32) {
		shift := uint32(0)
		to := next[0]
		next = next[1:]
		if crossed := x.tightAround(e.owner) - x.tightAround(to.loop); crossed > 0 {
			shift = tightBlocks*crossed + more
		}
		if shift > 0 && in.op == opBrIf && !to.carries {
			// An edge from several branches into one block with different values costs wazero's compiler the
			// fusion of comparison and branch. A block of its own for each edge does not.
			b = AppendU32(append(b, opIf, blockEmpty&0x7f, opBr), depth+shift+1)
			b = append(b, opEnd)
			copied = r.pos
			return
		}
		// The label is what was read last: copy what is before it.
		size := labelSize(r.b[:r.pos])
		b = append(b, instruction[copied:r.pos-size]...)
		b = AppendU32(b, depth+shift)
		copied = r.pos
	})
	return append(b, instruction[copied:]...)
}

// labelSize is the length of the number that b ends with and that something other than a number precedes,
// or a number: a byte with the high bit clear ends one.
func labelSize(b []byte) int {
	n := 1
	for n < len(b) && b[len(b)-n-1] >= 0x80 {
		n++
	}
	return n
}

func (x *interrupter) tightAround(loop int32) uint32 {
	if loop < 0 {
		return 0
	}
	return x.events[loop].depth
}

// askGrowTable puts a question to the host around table.grow: on the stack are the reference and the delta.
func (x *interrupter) askGrowTable(b []byte, f *funcFacts, grow []byte, table uint32) []byte {
	delta, ref := f.lengthLocal(), f.refLocal()
	b = AppendU32(append(b, opLocalSet), delta)
	b = AppendU32(append(b, opLocalSet), ref)
	b = AppendS64(append(b, opI32Const), int64(int32(table+1)))
	b = AppendU32(append(b, opPrefixMisc, miscTableSize), table)
	b = x.ask(b, delta)
	b = AppendU32(append(b, opLocalGet), ref)
	return x.growOrRefuse(b, delta, grow)
}

// askGrowMemory does the same around memory.grow: on the stack is the delta.
func (x *interrupter) askGrowMemory(b []byte, f *funcFacts, grow []byte) []byte {
	delta := f.lengthLocal()
	b = AppendU32(append(b, opLocalSet), delta)
	b = append(b, opI32Const, 0, opMemorySize, 0)
	return x.growOrRefuse(x.ask(b, delta), delta, grow)
}

func (x *interrupter) ask(b []byte, delta uint32) []byte {
	b = AppendU32(append(b, opLocalGet), delta)
	b = AppendU32(append(b, opCall), x.growFunc())
	return append(b, opIf, byte(engine.I32))
}

func (x *interrupter) growOrRefuse(b []byte, delta uint32, grow []byte) []byte {
	b = AppendU32(append(b, opLocalGet), delta)
	b = append(b, grow...)
	return append(b, opElse, opI32Const, 0x7f, opEnd)
}
