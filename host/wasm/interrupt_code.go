package wasm

import "github.com/edgewasm/wasmedge/host/engine"

// funcFacts is what scan finds out about one defined function.
type funcFacts struct {
	start      int // offset of the body in the code section
	body       int // of the code, behind the local declarations
	end        int
	first, n   int // its events
	locals     uint32
	cost       uint32 // of what is in no loop
	entry      uint32 // weight of the check at its entry; 0 means none
	indirect   bool   // calls by table or reference
	cyclic     bool   // the target of a call that closes a cycle
	scratch    bool   // needs a local for lengths
	scratchTab bool   // and one for a table.grow's reference, of this type
	refType    engine.ValueType
	state      visit
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
	eventCall   eventKind = iota // call, return_call: the index shifts
	eventRef                     // ref.func: likewise
	eventLoop                    // a loop: check behind it
	eventBulk                    // charge by length, then check, before it
	eventGrowTable               // table.grow: ask the host before
	eventGrowMemory              // memory.grow: likewise
)

type event struct {
	kind   eventKind
	shift  uint8  // of eventBulk: length to units
	pos    int    // offset in the code section of the instruction
	end    int    // and behind it
	index  uint32 // function or table
	owner  int32  // event of the innermost loop around it; -1 for none
	weight uint32 // eventLoop: cost of its body while scanning, then the weight of the check
}

// scan decodes all code.
func (x *interrupter) scan() error {
	s, ok := x.m.Section(SectionCode)
	if !ok {
		return nil
	}
	r := &reader{b: s.Body, base: s.Offset, section: "code"}
	n := r.count(2, "function bodies")
	x.funcs = make([]funcFacts, n)
	var ctl []int32
	for i := range x.funcs {
		size := int(r.u32("the size of a function body"))
		start := r.pos
		r.bytes(size, "a function body")
		if r.err != nil {
			return r.err
		}
		// The body is read through a reader of its own: it ends where its size says.
		f := &reader{b: s.Body[:r.pos], pos: start, base: s.Offset, section: "code"}
		ctl = x.scanBody(f, &x.funcs[i], x.m.Types[x.m.Funcs[i]], ctl[:0])
		if err := f.done(); err != nil {
			return err
		}
	}
	return r.done()
}

// scanBody decodes one function. ctl is reused: for each open block the innermost loop's event, or -1.
func (x *interrupter) scanBody(r *reader, f *funcFacts, typ engine.FuncType, ctl []int32) []int32 {
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
	depthOK := func(depth uint32) {
		if uint64(depth) >= uint64(len(ctl)) {
			r.fail(r.pos, ErrMalformed, "expected a label below %d, found %d", len(ctl), depth)
		}
	}
	loop := int32(-1)
	ctl = append(ctl, loop)
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
	var in instr
	for r.err == nil {
		r.next(&in, depthOK)
		if r.err != nil {
			break
		}
		cost := uint32(1)
		switch in.op {
		case opBlock, opIf, opTryTable, opLoop:
			if in.block >= 0 && !m.IsFunc(uint32(min(in.block, 1<<32-1))) {
				r.fail(in.start, ErrMalformed, "expected a block type, found type %d, the module has %d", in.block, len(m.Types))
			}
			switch in.op {
			case opLoop:
				record(event{kind: eventLoop, pos: in.start})
				loop = int32(len(x.events) - 1)
			case opTryTable:
				cost = costTryTable
			}
			ctl = append(ctl, loop)
		case opEnd:
			cost = 0
			ctl = ctl[:len(ctl)-1]
			if len(ctl) == 0 {
				f.end, f.n = r.pos, len(x.events)-f.first
				return ctl
			}
			loop = ctl[len(ctl)-1]
		case opCall, opReturnCall:
			m.checkIndex(r, in.start, in.index, m.NumFuncs(), "function")
			cost = costCall
			if in.index < x.imported {
				cost = costImport
			}
			record(event{kind: eventCall, pos: in.start, index: in.index})
		case opCallIndirect, opReturnCallIndirect, opCallRef, opReturnCallRef:
			m.checkIndex(r, in.start, in.index, len(m.Types), "type")
			cost, f.indirect = costIndirect, true
		case opRefFunc:
			m.checkIndex(r, in.start, in.index, m.NumFuncs(), "function")
			cost = costRefFunc
			record(event{kind: eventRef, pos: in.start, index: in.index})
		case opLocalGet, opLocalSet, opLocalTee:
			m.checkIndex(r, in.start, in.index, int(f.locals), "local")
		case opGlobalGet, opGlobalSet:
			m.checkIndex(r, in.start, in.index, m.NumGlobals(), "global")
		case opMemoryGrow:
			cost = costGrow
			if x.opt.Grow != "" {
				f.scratch = true
				record(event{kind: eventGrowMemory, pos: in.start})
			}
		case opPrefixMisc:
			cost = x.scanMisc(r, f, &in, record)
		}
		charge(cost)
	}
	return ctl
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
		if f.scratchTab && f.refType != t {
			r.fail(in.start, ErrUnsupported, "one function grows tables of %s and of %s", f.refType, t)
		}
		f.scratch, f.scratchTab, f.refType = true, true, t
		if t != engine.FuncRef && t != engine.ExternRef {
			r.fail(in.start, ErrUnsupported, "table.grow of a table whose elements are %s", t)
		}
		record(event{kind: eventGrowTable, pos: in.start, index: in.index})
		return costGrow
	default:
		return 1
	}
	f.scratch = true
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
			e.weight = 1 + e.weight/costShare
		}
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
	b = AppendU32(b, uint32(len(x.funcs)+1))
	var body []byte
	for i := range x.funcs {
		body = x.emitBody(body[:0], s, i)
		b = append(AppendU32(b, uint32(len(body))), body...)
	}
	body = append(body[:0], 0, opCall)
	body = AppendU32(body, x.interruptFunc())
	body = AppendU32(append(body, opGlobalSet), x.counter)
	body = append(body, opEnd)
	return append(AppendU32(b, uint32(len(body))), body...), nil
}

func (x *interrupter) emitBody(b []byte, s Section, i int) []byte {
	f := &x.funcs[i]
	code := s.Body
	if f.scratch {
		r := &reader{b: code[f.start:f.body]}
		n := r.u32("a count")
		rest := r.b[r.pos:]
		extra := []byte{1, byte(engine.I32)}
		if f.scratchTab {
			extra = append(extra, 1, byte(f.refType))
			n++
		}
		b = append(append(AppendU32(b, n+1), rest...), extra...)
	} else {
		b = append(b, code[f.start:f.body]...)
	}
	if f.entry != 0 {
		b = x.check(b, f.entry)
	}
	pos := f.body
	for k := f.first; k < f.first+f.n; k++ {
		e := &x.events[k]
		b = append(b, code[pos:e.pos]...)
		pos = e.end
		switch e.kind {
		case eventCall, eventRef:
			b = AppendU32(append(b, code[e.pos]), x.shift(e.index))
		case eventLoop:
			b = append(b, code[e.pos:e.end]...)
			b = x.check(b, e.weight)
		case eventBulk:
			b = AppendU32(append(b, opLocalTee), f.locals)
			b = x.chargeLength(b, f.locals, e.shift)
			b = append(b, code[e.pos:e.end]...)
		case eventGrowTable:
			b = x.askGrowTable(b, f, code[e.pos:e.end], e.index)
		case eventGrowMemory:
			b = x.askGrowMemory(b, f, code[e.pos:e.end])
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

// chargeLength charges the number in a local, shifted right.
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

// askGrowTable puts a question to the host around table.grow: on the stack are the reference and the delta.
func (x *interrupter) askGrowTable(b []byte, f *funcFacts, grow []byte, table uint32) []byte {
	delta, ref := f.locals, f.locals+1
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
	b = AppendU32(append(b, opLocalSet), f.locals)
	b = append(b, opI32Const, 0, opMemorySize, 0)
	return x.growOrRefuse(x.ask(b, f.locals), f.locals, grow)
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
