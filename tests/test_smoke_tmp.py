import jax, pytest
from dataclasses import replace
from attn.config import *
from attn.kernels import KERNELS
from attn.mesh import *
from attn.tasks import *
from attn.train.state import *
@pytest.mark.parametrize("positions", ["none","learned","sinusoidal","rotary"])
@pytest.mark.parametrize("name", list(KERNELS))
def test_x(name, positions):
    task = Digits() if name=="linformer" else MQAR()
    e = Experiment(name="a",claim="b",task=task,model=ModelConfig(kernel=KERNELS[name](),positions=positions,pattern=("short_conv","attention","mlp"),repeats=1,dropout=.1,dtype="bfloat16"))
    with jax.set_mesh(make_mesh(MeshShape(2,4))):
        s=init_state(e,(0,1)); sk=skeleton(e)
        from attn.train.step import make_train_step
        b={"tokens":jax.numpy.zeros((1,2,8,64),int),"targets":jax.numpy.zeros((1,2,8,task.num_scored),int)}
        if task.readout=="positions": b["positions"]=jax.numpy.zeros((1,2,8,task.num_scored),int)
        b={k:jax.device_put(v,jax.sharding.PartitionSpec(None,None,"data")) for k,v in b.items()}
        f=make_train_step(e,sk); s,m=f(s,b); print(m)
        from attn.cost import count_params
        assert sum(x[0].size for x in s.params.values())==count_params(e)
