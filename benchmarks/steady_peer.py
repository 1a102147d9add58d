"""The least that does a device's work: raw inference, a row a second into SQLite, a message a second to a TLS broker.

No signature, no budget, no policy, no acknowledgement; what the runtime is measured against in its steady state.

    python steady_peer.py ENGINE PORT PKI SPOOL PERIOD_S GRAPH...     PKI: folder with ca.pem, device.pem, device.key
"""

import signal
import sqlite3
import ssl
import sys
import time

import numpy as np
import paho.mqtt.client as mqtt


def by_litert(paths):
    """A function that runs a chain of TFLite graphs on zeros."""
    from ai_edge_litert.interpreter import Interpreter

    chain = []
    for path in paths:
        interpreter = Interpreter(model_path=path, num_threads=1)
        interpreter.allocate_tensors()
        chain.append((interpreter, interpreter.get_input_details()[0], interpreter.get_output_details()[0]))
    zeros = np.zeros(chain[0][1]["shape"], chain[0][1]["dtype"])

    def infer():
        value = zeros
        for interpreter, entry, out in chain:
            interpreter.set_tensor(entry["index"], value)
            interpreter.invoke()
            value = interpreter.get_tensor(out["index"])
        return int(value.argmax())

    return infer


def by_onnxruntime(paths):
    """A function that runs one ONNX graph on zeros, its gates open."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(paths[0], options, providers=["CPUExecutionProvider"])
    feed = {
        item.name: np.asarray(True) if "bool" in item.type else np.zeros(item.shape, np.float32)
        for item in session.get_inputs()
    }
    return lambda: int(session.run(None, feed)[0].argmax())


def main():
    """Run until SIGTERM."""
    engine, port, pki, spool, period_s, *paths = sys.argv[1:]
    infer = {"litert": by_litert, "onnxruntime": by_onnxruntime}[engine](paths)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="peer")
    client.tls_set(f"{pki}/ca.pem", f"{pki}/device.pem", f"{pki}/device.key", tls_version=ssl.PROTOCOL_TLS_CLIENT)
    client.connect("127.0.0.1", int(port))
    client.loop_start()
    store = sqlite3.connect(spool)
    store.execute("pragma journal_mode=wal")
    store.execute("create table record (t real, answer int)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    told_s = due_s = time.monotonic()
    while True:
        answer, due_s = infer(), due_s + float(period_s)
        if due_s - told_s >= 1:
            told_s = due_s
            store.execute("insert into record values (?, ?)", (due_s, answer))
            store.commit()
            client.publish("peer", str(answer), qos=1)
        time.sleep(max(0.0, due_s - time.monotonic()))


if __name__ == "__main__":
    main()
